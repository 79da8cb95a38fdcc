    private companion object {
        // As in preprocessing.json.
        const val FILE = @file_text@
        const val CHANNELS = @channels@
        const val HEIGHT = @height@
        const val WIDTH = @width@
        const val CLASSES = @n_classes@
        const val LOW = @low@f
        const val HIGH = @high@f
        val MEAN = floatArrayOf(@mean@)
        val STD = floatArrayOf(@std@)
    }
