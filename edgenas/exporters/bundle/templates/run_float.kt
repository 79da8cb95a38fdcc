        val input = ByteBuffer.allocateDirect(4 * values.size).order(ByteOrder.nativeOrder())
        values.forEach { input.putFloat(it) }
        input.rewind()
        val output = ByteBuffer.allocateDirect(4 * CLASSES).order(ByteOrder.nativeOrder())
        interpreter.run(input, output)
        output.rewind()
        val logits = FloatArray(CLASSES) { output.getFloat() }
