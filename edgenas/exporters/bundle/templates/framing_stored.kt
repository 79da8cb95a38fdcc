        val whole = doubleArrayOf(0.0, 0.0, width.toDouble(), height.toDouble())
        val stored = scaled(plane, width, height, whole, @stored_width@, @stored_height@, true)
        val all = doubleArrayOf(0.0, 0.0, @stored_width@.0, @stored_height@.0)
        return scaled(stored, @stored_width@, @stored_height@, all, WIDTH, HEIGHT, false)
