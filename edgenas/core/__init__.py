"""Values shared by every part of edgenas; no engine, no device, no torch."""
