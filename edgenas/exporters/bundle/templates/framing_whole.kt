        val whole = doubleArrayOf(0.0, 0.0, width.toDouble(), height.toDouble())
        return scaled(plane, width, height, whole, WIDTH, HEIGHT, false)
