"""A tiny TDT model that was taught one recording, in the forms that both runtimes read.

Two Conformer layers, 64 wide, start from random numbers and learn when each word of jfk.flac is said: not by the
transducer loss, but along one alignment that is written down below, which takes seconds. So the tests compare real
text and known word times, and all of the loading and inference code is the library's. NeMo and PyTorch are imported
where they are used: only the environment of the extra `parakeet` has them.
"""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
STARTS = (
    0.32, 0.56, 0.8, 1.12, 1.6, 3.28, 3.76, 5.36, 5.6, 5.76, 6.24, 6.64, 6.8, 7.04,
    8.16, 8.48, 8.72, 9.04, 9.36, 9.52, 9.76, 9.92,
)  # fmt: skip
ENDS = (
    0.56, 0.8, 1.12, 1.6, 2.16, 3.76, 4.24, 5.6, 5.76, 6.24, 6.64, 6.8, 7.04, 7.36,
    8.48, 8.72, 9.04, 9.36, 9.52, 9.76, 9.92, 10.4,
)  # fmt: skip
"""Seconds, whole frames of 0.08 s; from Whisper base, moved where forced alignment says otherwise."""

RATE = 16_000
FRAME_S = 0.08
DURATIONS = (0, 1, 2, 3, 4)
STEPS = 350
GAP_S = 1.0
"""Silence behind each reading, seconds."""

Said = list[tuple[str, float, float]]


def readings(speech: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], Said]:
    """The recording so many times in a row with GAP_S of silence behind each, and what is said when."""
    gap = np.zeros(round(GAP_S * RATE), dtype=np.float32)
    once = len(speech) / RATE + GAP_S
    said = [
        (word, number * once + start, number * once + end)
        for number in range(count)
        for word, start, end in zip(TEXT.split(), STARTS, ENDS, strict=True)
    ]
    return np.concatenate([speech, gap] * count), said


def build(folder: Path, speech: NDArray[np.float32]) -> None:
    """Teach the model; leave `nemo/tiny.nemo` and `onnx/` (for onnx-asr) in the folder, whole or not at all."""
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    (making / "nemo").mkdir(parents=True)
    (making / "onnx").mkdir()
    model = _untaught(making)
    _teach(model, speech)
    model.save_to(str(making / "nemo" / "tiny.nemo"))
    model.freeze()
    model.export(str(making / "onnx" / "model.onnx"))
    pieces = [*model.tokenizer.vocab, "<blk>"]
    (making / "onnx" / "vocab.txt").write_text(
        "".join(f"{piece} {number}\n" for number, piece in enumerate(pieces)), encoding="utf-8"
    )
    config = {"model_type": "nemo-conformer-tdt", "features_size": 80, "subsampling_factor": 8}
    (making / "onnx" / "config.json").write_text(json.dumps(config))
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)


def _untaught(folder: Path) -> Any:
    import nemo.collections.asr as nemo_asr
    import sentencepiece
    import torch
    from omegaconf import OmegaConf

    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "text").write_text("\n".join([TEXT] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tokens / "text"),
        model_prefix=str(tokens / "tokenizer"),
        vocab_size=48,
        model_type="bpe",
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        character_coverage=1.0,
        minloglevel=2,
    )
    known = sentencepiece.SentencePieceProcessor(model_file=str(tokens / "tokenizer.model"))
    (tokens / "vocab.txt").write_text(
        "\n".join(known.id_to_piece(number) for number in range(1, known.get_piece_size()))
    )
    torch.manual_seed(0)
    return nemo_asr.models.EncDecRNNTBPEModel(cfg=OmegaConf.create(_config(tokens)))


def _config(tokens: Path) -> dict[str, Any]:
    wide = 64
    return {
        "train_ds": None,
        "validation_ds": {"manifest_filepath": None, "sample_rate": RATE, "batch_size": 1, "shuffle": False},
        "test_ds": None,
        "sample_rate": RATE,
        "compute_eval_loss": False,
        "log_prediction": False,
        "model_defaults": {"enc_hidden": wide, "pred_hidden": wide, "joint_hidden": wide},
        "tokenizer": {"dir": str(tokens), "type": "bpe"},
        "preprocessor": {
            "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
            "sample_rate": RATE,
            "normalize": "per_feature",
            "window_size": 0.025,
            "window_stride": 0.01,
            "window": "hann",
            "features": 80,
            "n_fft": 512,
            "frame_splicing": 1,
            "dither": 0.0,
            "pad_to": 0,
        },
        "encoder": {
            "_target_": "nemo.collections.asr.modules.ConformerEncoder",
            "feat_in": 80,
            "feat_out": -1,
            "n_layers": 2,
            "d_model": wide,
            "use_bias": False,
            "subsampling": "dw_striding",
            "subsampling_factor": 8,
            "subsampling_conv_channels": 32,
            "causal_downsampling": False,
            "ff_expansion_factor": 4,
            "self_attention_model": "rel_pos",
            "n_heads": 4,
            "att_context_size": [-1, -1],
            "xscaling": False,
            "untie_biases": True,
            "pos_emb_max_len": 5000,
            "conv_kernel_size": 9,
            "conv_norm_type": "batch_norm",
            "dropout": 0.0,
            "dropout_pre_encoder": 0.0,
            "dropout_emb": 0.0,
            "dropout_att": 0.0,
        },
        "decoder": {
            "_target_": "nemo.collections.asr.modules.RNNTDecoder",
            "normalization_mode": None,
            "random_state_sampling": False,
            "blank_as_pad": True,
            "prednet": {"pred_hidden": wide, "pred_rnn_layers": 1, "t_max": None, "dropout": 0.0},
        },
        "joint": {
            "_target_": "nemo.collections.asr.modules.RNNTJoint",
            "log_softmax": None,
            "preserve_memory": False,
            "fuse_loss_wer": False,
            "fused_batch_size": 4,
            "jointnet": {"joint_hidden": wide, "activation": "relu", "dropout": 0.0},
            "num_extra_outputs": len(DURATIONS),
        },
        "decoding": {
            "strategy": "greedy_batch",
            "model_type": "tdt",
            "durations": list(DURATIONS),
            "greedy": {"max_symbols": 10},
        },
        "loss": {
            "loss_name": "tdt",
            "tdt_kwargs": {"durations": list(DURATIONS), "sigma": 0.02, "omega": 0.1},
        },
        "optim": {"name": "adamw", "lr": 1e-3},
    }


def _teach(model: Any, speech: NDArray[np.float32]) -> None:
    """Stretches of the recording, repeated, from anywhere to anywhere, so that any window of it is known."""
    import torch

    choose = random.Random(0)
    audio, said = readings(speech, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=STEPS)
    model.train()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are so small that two threads take ten times as long as one
    for _ in range(STEPS):
        if choose.random() < 0.3:
            start, end = 0.0, len(speech) / RATE + choose.choice([0.0, GAP_S])
        else:
            start = choose.uniform(0, 26)
            end = min(len(audio) / RATE, start + choose.uniform(5, 22))
        start, end = round(start, 2), round(end, 2)
        heard = [(word, a - start, b - start) for word, a, b in said if a >= start and b <= end]
        if not heard:
            continue
        loss = _loss(model, audio[round(start * RATE) : round(end * RATE)], heard)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    torch.set_num_threads(threads)
    model.eval()


def _loss(model: Any, samples: NDArray[np.float32], said: Said) -> Any:
    import torch

    encoded, frames = model.forward(
        input_signal=torch.from_numpy(samples)[None], input_signal_length=torch.tensor([len(samples)])
    )
    count = int(frames[0])
    timed = _tokens(model, said)
    timed = [(token, at, last) for token, at, last in timed if at < count]
    targets = torch.tensor([[token for token, _, _ in timed]])
    predicted, *_ = model.decoder(targets=targets, target_length=torch.tensor([targets.shape[1]]))
    steps = _path(timed, count, model.joint.num_classes_with_blank - 1 - len(DURATIONS))
    at = torch.tensor([step[0] for step in steps])
    known = torch.tensor([step[1] for step in steps])
    frame = encoded[0].T[at][:, None]
    state = predicted[0].T[known][:, None]
    scores = model.joint.joint(frame, state)[:, 0, 0]
    labels, lengths = scores[:, : -len(DURATIONS)], scores[:, -len(DURATIONS) :]
    return torch.nn.functional.cross_entropy(
        labels, torch.tensor([step[2] for step in steps])
    ) + torch.nn.functional.cross_entropy(lengths, torch.tensor([step[3] for step in steps]))


def _tokens(model: Any, said: Said) -> list[tuple[int, int, int]]:
    """Token, its first frame, and the frame behind its last, in order; the tokens of a word share it evenly."""
    timed = []
    for word, start, end in said:
        numbers = model.tokenizer.text_to_ids(word)
        first, last = round(start / FRAME_S), round(end / FRAME_S)
        borders = [first + round((last - first) * at / len(numbers)) for at in range(len(numbers) + 1)]
        timed += [(number, a, b) for number, a, b in zip(numbers, borders, borders[1:], strict=False)]
    return timed


def _path(timed: list[tuple[int, int, int]], count: int, blank: int) -> list[tuple[int, int, int, int]]:
    """Frame, tokens said before, label and duration of each decision along the alignment."""
    steps = []
    frame = said = 0
    while frame < count:
        if said < len(timed) and timed[said][1] <= frame:
            label, _, last = timed[said]
            skip = min(DURATIONS[-1], max(0, last - frame))
            steps.append((frame, said, label, skip))
            said += 1
        else:
            until = timed[said][1] if said < len(timed) else count
            skip = min(DURATIONS[-1], until - frame)
            steps.append((frame, said, blank, skip))
        frame += skip
    return steps
