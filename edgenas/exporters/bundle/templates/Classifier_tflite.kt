package com.example.classifier

import android.content.Context
import android.graphics.Bitmap
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp
import org.tensorflow.lite.Interpreter

/**
 * Classifies bitmaps with @file@ and LiteRT.
 *
 * Copy @file@ and labels.txt of the bundle into app/src/main/assets, and add to build.gradle.kts:
 *
 *     implementation("com.google.ai.edge.litert:litert:@engine_version@")
 *
 * Bitmaps must be in software (Bitmap.Config.ARGB_8888). One instance serves one thread at a time.
 */
class Classifier(context: Context) : AutoCloseable {
    private val interpreter = Interpreter(
        context.assets.open(FILE).use { stream -> direct(stream.readBytes()) },
        Interpreter.Options().setNumThreads(1),
    )
    private val labels =
        context.assets.open("labels.txt").bufferedReader(Charsets.UTF_8).use { it.readLines() }

    /** Returns the likeliest classes of an image with their probabilities, the likeliest first. */
    fun classify(bitmap: Bitmap, top: Int = 5): List<Pair<String, Float>> {
        val values = prepared(bitmap)
@run@
        return likeliest(logits, top)
    }

    override fun close() {
        interpreter.close()
    }

    private fun direct(bytes: ByteArray): ByteBuffer =
        ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder()).apply {
            put(bytes)
            rewind()
        }

@likeliest@
@preparation@
@constants@}
