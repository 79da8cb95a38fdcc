        // The file takes and returns codes: (code - zero point) * scale.
        val input = ByteBuffer.allocateDirect(values.size)
        values.forEach { value ->
            val code = Math.rint((value / @input_scale@f).toDouble()).toInt() + @input_zero_point@
            input.put(code.coerceIn(-128, 127).toByte())
        }
        input.rewind()
        val output = ByteBuffer.allocateDirect(CLASSES)
        interpreter.run(input, output)
        output.rewind()
        val logits = FloatArray(CLASSES) { (output.get() - @output_zero_point@) * @output_scale@f }
