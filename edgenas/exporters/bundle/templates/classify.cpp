// Classifies images with @file@ and ONNX Runtime.
//
//   classify MODEL.onnx LABELS.txt INPUT.npy [--logits]
//
// An array of float32 holds inputs as the network reads them, such as check/inputs.npy. Bytes of
// shape (@height@, @width@, @channels@) are the pixels of one image, cut out and scaled to that size
// (preprocessing.json says how). With --logits the raw outputs are printed, a line an image.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// As in preprocessing.json.
constexpr const char* kInput = @input_name@;
constexpr const char* kOutput = @output_name@;
constexpr int64_t kBatch = @batch@;
constexpr int64_t kChannels = @channels@;
constexpr int64_t kHeight = @height@;
constexpr int64_t kWidth = @width@;
constexpr int64_t kClasses = @n_classes@;
constexpr float kLow = @low@f;
constexpr float kHigh = @high@f;
constexpr float kMean[] = {@mean@};
constexpr float kStd[] = {@std@};
constexpr int64_t kPixels = kHeight * kWidth;
constexpr int64_t kSize = kChannels * kPixels;
constexpr int kTop = 5;

struct Array {
  std::string type;  // "<f4" or "|u1"
  std::vector<char> bytes;
};

std::string Between(const std::string& text, const std::string& before, const std::string& after) {
  const auto start = text.find(before);
  if (start == std::string::npos) throw std::runtime_error("the .npy file has no " + before);
  const auto from = start + before.size();
  return text.substr(from, text.find(after, from) - from);
}

Array ReadNpy(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("cannot open " + path);
  std::vector<char> all((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  if (all.size() < 12 || std::memcmp(all.data(), "\x93NUMPY", 6) != 0) {
    throw std::runtime_error(path + " is no .npy file");
  }
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(all[i])); };
  size_t begin = 10, length = byte(8) | byte(9) << 8;
  if (all[6] > 1) {
    begin = 12;
    length |= byte(10) << 16 | byte(11) << 24;
  }
  if (begin + length > all.size()) throw std::runtime_error(path + " is cut off");
  const std::string header(all.data() + begin, length);
  if (Between(header, "'fortran_order': ", ",") != "False") {
    throw std::runtime_error(path + " is in Fortran's order");
  }
  return {Between(header, "'descr': '", "'"),
          std::vector<char>(all.begin() + static_cast<std::ptrdiff_t>(begin + length), all.end())};
}

// Returns inputs of the network, one after the other, channels first.
std::vector<float> Inputs(const Array& array) {
  if (array.type == "<f4") {
    std::vector<float> values(array.bytes.size() / sizeof(float));
    std::memcpy(values.data(), array.bytes.data(), values.size() * sizeof(float));
    if (values.empty() || values.size() % kSize != 0) {
      throw std::runtime_error("the array holds no whole number of inputs");
    }
    return values;
  }
  if (array.type != "|u1" || array.bytes.size() != kSize) {
    throw std::runtime_error("neither float32 inputs nor the bytes of an image in the right size");
  }
  std::vector<float> values(kSize);
  for (int64_t i = 0; i < kPixels; ++i) {
    for (int64_t c = 0; c < kChannels; ++c) {
      const auto pixel = static_cast<uint8_t>(array.bytes[i * kChannels + c]);
      const float level = static_cast<float>(pixel) / 255.0f * (kHigh - kLow) + kLow;
      values[c * kPixels + i] = (level - kMean[c]) / kStd[c];
    }
  }
  return values;
}

// Returns the logits of all inputs, kClasses each.
std::vector<float> Logits(Ort::Session& session, std::vector<float>& inputs) {
  const int64_t shape[] = {kBatch, kChannels, kHeight, kWidth};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto n = static_cast<int64_t>(inputs.size()) / kSize;
  inputs.resize((n + kBatch - 1) / kBatch * kBatch * kSize);  // the last batch is filled with zeros
  std::vector<float> logits;
  for (int64_t i = 0; i < n; i += kBatch) {
    auto input = Ort::Value::CreateTensor<float>(memory, inputs.data() + i * kSize, kBatch * kSize,
                                                 shape, 4);
    const auto outputs = session.Run(Ort::RunOptions{nullptr}, &kInput, &input, 1, &kOutput, 1);
    const float* found = outputs[0].GetTensorData<float>();
    logits.insert(logits.end(), found, found + kBatch * kClasses);
  }
  logits.resize(n * kClasses);
  return logits;
}

void PrintClasses(const float* logits, const std::vector<std::string>& labels) {
  std::vector<int> order(kClasses);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  double sum = 0;
  for (int64_t k = 0; k < kClasses; ++k) sum += std::exp(double(logits[k]) - logits[order[0]]);
  const int shown = std::min<int>(kTop, kClasses);
  for (int k = 0; k < shown; ++k) {
    const double share = std::exp(double(logits[order[k]]) - logits[order[0]]) / sum;
    std::printf("%s%s %.1f%%", k ? ", " : "", labels.at(order[k]).c_str(), 100 * share);
  }
  std::printf("\n");
}

int Main(int argc, char** argv) {
  const bool raw = argc == 5 && std::string(argv[4]) == "--logits";
  if (argc != 4 && !raw) {
    std::fprintf(stderr, "usage: %s MODEL.onnx LABELS.txt INPUT.npy [--logits]\n", argv[0]);
    return 2;
  }
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "classify");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
@session@  Ort::Session session(env, argv[1], options);
  std::vector<std::string> labels;
  std::ifstream stream(argv[2]);
  for (std::string line; std::getline(stream, line);) labels.push_back(line);
  if (static_cast<int64_t>(labels.size()) != kClasses) throw std::runtime_error("other labels");
  std::vector<float> inputs = Inputs(ReadNpy(argv[3]));
  const std::vector<float> logits = Logits(session, inputs);
  for (size_t i = 0; i < logits.size(); i += kClasses) {
    if (!raw) {
      PrintClasses(&logits[i], labels);
      continue;
    }
    for (int64_t k = 0; k < kClasses; ++k) std::printf("%s%.9g", k ? " " : "", logits[i + k]);
    std::printf("\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
