    private fun likeliest(logits: FloatArray, top: Int): List<Pair<String, Float>> {
        val most = logits.maxOrNull() ?: 0f
        val powers = FloatArray(logits.size) { exp(logits[it] - most) }
        val sum = powers.sum()
        val order = powers.indices.sortedByDescending { powers[it] }
        return order.take(top).map { Pair(labels[it], powers[it] / sum) }
    }
