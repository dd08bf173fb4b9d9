"""Audio models: waves [b, n] or spectrograms in; n is dynamic if the model allows it."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.rows import entry, floats, ints, network
from enginebundle.format.spec import Range

LENGTH = Range(400, 600, 800)
WAVES = (floats("input_values", "b", "n"),)
STATES = "last_hidden_state"
CONVOLUTIONS = {
    "conv_dim": [16, 16, 16], "conv_stride": [5, 2, 2], "conv_kernel": [10, 3, 3],
    "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
}  # fmt: skip


def sound(
    name: str, kind: str, returns: str = STATES, *, inputs: Any = WAVES,
    n: Range = LENGTH, **options: Any,
) -> Entry:  # fmt: skip
    return entry(name, partial(network, kind, returns, **options), inputs, n=n)


ENTRIES = (
    sound("wav2vec2", "Wav2Vec2Model", **CONVOLUTIONS),
    sound("wav2vec2-ctc", "Wav2Vec2ForCTC", "logits", do_stable_layer_norm=True,
          feat_extract_norm="layer", **CONVOLUTIONS),
    sound("wav2vec2-conformer", "Wav2Vec2ConformerModel", **CONVOLUTIONS),
    sound("hubert", "HubertModel", **CONVOLUTIONS),
    sound("wavlm", "WavLMModel", **CONVOLUTIONS),
    sound("data2vec-audio", "Data2VecAudioModel", **CONVOLUTIONS | {"num_conv_pos_embeddings": 2,
          "conv_pos_kernel_size": 3}),
    sound("unispeech", "UniSpeechModel", **CONVOLUTIONS),
    sound("sew", "SEWModel", squeeze_factor=2, **CONVOLUTIONS),
    sound("sew-d", "SEWDModel", squeeze_factor=2, **CONVOLUTIONS),
    sound("whisper-encoder", "WhisperModel", part="encoder", num_mel_bins=16,
          max_source_positions=32, inputs=(floats("input_features", "b", 16, 64),)),
    sound("whisper", "WhisperForConditionalGeneration", "logits", num_mel_bins=16,
          max_source_positions=32, max_target_positions=64, decoder_start_token_id=2, inputs=(
          floats("input_features", "b", 16, 64), ints("decoder_input_ids", "b", "t"))),
    sound("speech-to-text", "Speech2TextForConditionalGeneration", "logits", inputs=(
          floats("input_features", "b", 64, 16), ints("decoder_input_ids", "b", "t")),
          input_feat_per_channel=16, conv_channels=32, decoder_start_token_id=2),
    sound("ast", "ASTForAudioClassification", "logits", max_length=64, num_mel_bins=32, patch_size=16,
          inputs=(floats("input_values", "b", 64, 32),)),
    sound("moonshine-encoder", "MoonshineModel", part="encoder", n=Range(2400, 3000, 4000)),
    sound("encodec", "EncodecModel", "audio_values", inputs=(floats("input_values", "b", 1, "n"),)),
    sound("patchtst", "PatchTSTForPrediction", "prediction_outputs", num_input_channels=3,
          context_length=32, prediction_length=8, patch_length=8, patch_stride=8, d_model=32,
          inputs=(floats("past_values", "b", 32, 3),)),
    sound("patchtsmixer", "PatchTSMixerForPrediction", "prediction_outputs", num_input_channels=3,
          context_length=32, prediction_length=8, patch_length=8, patch_stride=8, d_model=16,
          inputs=(floats("past_values", "b", 32, 3),)),
)  # fmt: skip
