    /** Returns an image as the network reads it, before codes: @layout_words@. */
    private fun prepared(bitmap: Bitmap): FloatArray {
        val width = bitmap.width
        val height = bitmap.height
        val pixels = IntArray(width * height)
        bitmap.getPixels(pixels, 0, width, 0, 0, width, height)
        val values = FloatArray(CHANNELS * HEIGHT * WIDTH)
        for (c in 0 until CHANNELS) {
            val plane = framed(FloatArray(pixels.size) { level(pixels[it], c) }, width, height)
            for (i in plane.indices) {
                val value = plane[i] / 255f * (HIGH - LOW) + LOW
                values[@place@] = (value - MEAN[c]) / STD[c]
            }
        }
        return values
    }

    /** Returns one channel of a pixel, 0 to 255. */
    private fun level(pixel: Int, channel: Int): Float {
        val red = pixel shr 16 and 0xff
        val green = pixel shr 8 and 0xff
        val blue = pixel and 0xff
        @level@
    }

    /** Returns a channel, cut out and scaled as the training images were, HEIGHT x WIDTH. */
    private fun framed(plane: FloatArray, width: Int, height: Int): FloatArray {
@framing@
    }

    /**
     * Returns the part of a plane from left to right and from top to bottom in another size:
     * bilinear with half-pixel centres, with antialiasing the mean of all that a pixel covers.
     */
    private fun scaled(
        plane: FloatArray,
        width: Int,
        height: Int,
        box: DoubleArray,
        newWidth: Int,
        newHeight: Int,
        antialias: Boolean,
    ): FloatArray {
        val (left, top, right, bottom) = box
        val across = FloatArray(newWidth * height)
        weights(width, left, right, newWidth, antialias).forEachIndexed { x, (first, shares) ->
            for (y in 0 until height) {
                var sum = 0.0
                for (k in shares.indices) sum += shares[k] * plane[y * width + first + k]
                across[y * newWidth + x] = sum.toFloat()
            }
        }
        val result = FloatArray(newWidth * newHeight)
        weights(height, top, bottom, newHeight, antialias).forEachIndexed { y, (first, shares) ->
            for (x in 0 until newWidth) {
                var sum = 0.0
                for (k in shares.indices) sum += shares[k] * across[(first + k) * newWidth + x]
                result[y * newWidth + x] = sum.toFloat()
            }
        }
        return result
    }

    /** Returns for each of `size` results the first of the `n` values that it rests on, and shares. */
    private fun weights(
        n: Int,
        start: Double,
        stop: Double,
        size: Int,
        antialias: Boolean,
    ): List<Pair<Int, DoubleArray>> {
        val step = (stop - start) / size
        val reach = if (antialias) maxOf(step, 1.0) else 1.0
        return List(size) { i ->
            val middle = start + (i + 0.5) * step
            val first = maxOf(0, (middle - reach + 0.5).toInt())
            val last = minOf(n, (middle + reach + 0.5).toInt())
            val raw = DoubleArray(last - first) { k ->
                maxOf(0.0, 1.0 - abs(first + k + 0.5 - middle) / reach)
            }
            val sum = raw.sum()
            Pair(first, DoubleArray(raw.size) { raw[it] / sum })
        }
    }
