        // The short side becomes size / @crop_share@, and the middle of it is shown.
        val coveredWidth = ceil(WIDTH / @crop_share@).toInt()
        val coveredHeight = ceil(HEIGHT / @crop_share@).toInt()
        val isTall = coveredWidth.toLong() * height >= coveredHeight.toLong() * width
        val newWidth = if (isTall) coveredWidth else (coveredHeight.toDouble() * width / height).toInt()
        val newHeight = if (isTall) (coveredWidth.toDouble() * height / width).toInt() else coveredHeight
        val left = Math.rint((newWidth - WIDTH) / 2.0)
        val top = Math.rint((newHeight - HEIGHT) / 2.0)
        val across = width.toDouble() / newWidth
        val down = height.toDouble() / newHeight
        val right = minOf((left + WIDTH) * across, width.toDouble())
        val bottom = minOf((top + HEIGHT) * down, height.toDouble())
        val box = doubleArrayOf(left * across, top * down, right, bottom)
        return scaled(plane, width, height, box, WIDTH, HEIGHT, true)
