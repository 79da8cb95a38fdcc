package com.example.classifier

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import android.graphics.Bitmap
import java.nio.FloatBuffer
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp

/**
 * Classifies bitmaps with @file@ and ONNX Runtime.
 *
 * Copy @file@ and labels.txt of the bundle into app/src/main/assets, and add to build.gradle.kts:
 *
 *     implementation("com.microsoft.onnxruntime:onnxruntime-android:@engine_version@")
 *
 * Bitmaps must be in software (Bitmap.Config.ARGB_8888). One instance serves one thread at a time.
 */
class Classifier(context: Context) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val options = OrtSession.SessionOptions().apply {
        setIntraOpNumThreads(1)
@session@    }
    private val session =
        environment.createSession(context.assets.open(FILE).use { it.readBytes() }, options)
    private val labels =
        context.assets.open("labels.txt").bufferedReader(Charsets.UTF_8).use { it.readLines() }

    /** Returns the likeliest classes of an image with their probabilities, the likeliest first. */
    fun classify(bitmap: Bitmap, top: Int = 5): List<Pair<String, Float>> {
        val shape = longArrayOf(1, CHANNELS.toLong(), HEIGHT.toLong(), WIDTH.toLong())
        val logits = OnnxTensor.createTensor(environment, FloatBuffer.wrap(prepared(bitmap)), shape)
            .use { input ->
                session.run(mapOf(@input_name@ to input)).use { outputs ->
                    val answer = outputs.get(@output_name@).get() as OnnxTensor
                    FloatArray(CLASSES).also { answer.floatBuffer.get(it) }
                }
            }
        return likeliest(logits, top)
    }

    override fun close() {
        session.close()
        options.close()
    }

@likeliest@
@preparation@
@constants@}
