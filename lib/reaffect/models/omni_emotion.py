"""Omni-Emotion: LLaVA-OneVision that also looks at faces with FaceXFormer and listens with Whisper.

Yang et al. 2025, Section 4. Frames -> SigLIP -> LLaVA-OneVision's projector -> 196 tokens a frame; crops of faces ->
FaceXFormer's encoder -> two linear layers; both joined in one of three ways (Figure 6). Sound -> Whisper's encoder -> a
token each 60 ms -> two linear layers. Each modality stands between two tokens that name it, before the question, in the
language model's own chat format. Nothing was released; what the paper leaves out is chosen here and said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision
from transformers import (
    AutoTokenizer,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD

from reaffect.models.checkpoints import fill, own_weights, read_processor
from reaffect.models.facexformer import FaceConfig, FaceXFormerEncoder, face_pixels
from reaffect.models.llava_onevision import halved, language_model_of, numbered, projector
from reaffect.models.qformer import Positions
from reaffect.models.soft_prompt import SoftPromptLM, with_lora
from reaffect.models.whisper_audio import Sound, WhisperAudioConfig, WhisperEars, encoded, hear, released_ears, whole

FUSIONS = ("frame", "cross", "clip")
"""Figure 6 (a), (b) and (c)."""

ABLATIONS: dict[str, dict[str, bool]] = {
    "v": {"face_branch": False, "audio_branch": False},
    "v+a": {"face_branch": False},
    "v+a+f": {},
}
"""Rows of Table 1 -> what differs in the config."""

PROJECTORS = ("visual_projector", "face_projector", "face_attention", "audio_projector")
"""The paper's three, and the cross-attention of Figure 6 (b), which we take for a part of what aligns faces."""

PHASES: dict[int, tuple[str, ...]] = {
    1: ("audio_projector",),
    2: ("face_projector", "face_attention"),
    3: (*PROJECTORS, "language_model", "frame_positions", "visual_marks", "audio_marks"),
}
"""Phase (Section 4.4) -> what it trains, of the parts that a model has (of a language model with LoRA, that). The paper
describes frame embeddings and the tokens around modalities with phase 3, so it learns them; LLaVA-OneVision's token
behind frames stays as published."""

OPTIONAL = {"face_encoder", "face_projector", "face_attention", "ears", "audio_projector", "audio_marks"}
"""Parts that a model has or has not, as its config says."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen2's chat format, for tokenizers that carry none."""


@dataclass(frozen=True)
class OmniEmotionConfig:
    """Sizes and parts; the paper's by default, with LLaVA-OneVision-7B's sizes.

    Args:
        fusion: how faces and frames are joined, one of `FUSIONS`: a frame's facial tokens behind its visual ones; the
            same after they have attended to these; or, as by default, all facial tokens behind all visual ones.
        fusion_heads: of the cross-attention, which works on projected tokens; the paper does not say how many, and we
            take as many as Qwen2-7B has.
        frames: that have an embedding of their own; those of longer clips lie between (`Positions`).
        absent_tokens: zeros that stand for a modality that a clip lacks. The paper says that a zero tensor does and not
            how long it is. In place of the facial tokens of a frame without a face stand as many zeros.
        face_branch, audio_branch: whether there are these modalities at all; without, they have no parameters.
        lora_rank: of LoRA, which phase 3 then trains in place of the language model itself; 0, the paper's, is none.
        lora_alpha, lora_dropout: of the same.

    Raises:
        ValueError: an unknown fusion.
    """

    image_size: int = 384
    patch_size: int = 14
    tower_width: int = 1152
    tower_mlp: int = 4304
    tower_layers: int = 26
    tower_heads: int = 16
    fusion: str = "clip"
    fusion_heads: int = 28
    frames: int = 8
    absent_tokens: int = 1
    face_branch: bool = True
    audio_branch: bool = True
    lora_rank: int = 0
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    face: FaceConfig = field(default_factory=FaceConfig)
    audio: WhisperAudioConfig = field(default_factory=WhisperAudioConfig)

    def __post_init__(self):
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; it must be one of {', '.join(map(repr, FUSIONS))}")


@dataclass(frozen=True, eq=False)
class OmniClip:
    """What the model is shown of a clip.

    Args:
        frames: what `OmniEmotion.pixels` returns (frames, 3, size, size), or what the tower made of it (frames,
            patches, width), for those who keep that (`OmniEmotion.see`).
        faces: of the frames that have one, in order: what `OmniEmotion.face_pixels` returns (faces, 3, size, size), or
            what the face encoder made of it (faces, tokens, width); None if no frame has a face.
        found: which frames have a face; without it all have, if there are faces.

    Raises:
        ValueError: not as many faces as frames that have one, or not told of each frame.
    """

    frames: Float[Tensor, "frames 3 size size"] | Float[Tensor, "frames patches width"]
    faces: Float[Tensor, "faces 3 size size"] | Float[Tensor, "faces tokens width"] | None = None
    found: Bool[Tensor, " frames"] | None = None

    def __post_init__(self):
        told = len(self.frames) if self.found is None else len(self.found)
        faces = 0 if self.faces is None else len(self.faces)
        expected = (told if faces else 0) if self.found is None else int(self.found.sum())
        if told != len(self.frames) or faces != expected or (self.faces is not None and not faces):
            raise ValueError(
                f"{len(self.frames)} frames, {told} of them told to have a face or not, {expected} with and {faces} "
                "faces; give each frame with a face its crop, and None where there are no faces"
            )

    def __len__(self) -> int:
        return len(self.frames)

    def places(self) -> list[int]:
        """Numbers of the frames that have a face."""
        if self.faces is None:
            return []
        return list(range(len(self))) if self.found is None else self.found.nonzero()[:, 0].tolist()


class OmniEmotion(SoftPromptLM):
    """Questions about frames, faces and sound; its `frames` are of type `OmniClip`, its `audio` of type `Sound`.

    The tokens around modalities are embeddings of our own and not new words, so that the vocabulary stays the language
    model's: its checkpoints fit as they are, and it can be frozen while they are learned.

    Args:
        config: sizes and parts.
        language_model: any causal one; the paper's is LLaVA-OneVision's, from Qwen2-7B. It is given LoRA here, in
            place, if the config says so; its projections must then be named as LLaMA's.
        tokenizer: its own; it words questions in its own chat format.
    """

    config_class = OmniEmotionConfig
    reply = "{answer}{stop}"
    published: ClassVar[tuple[str, ...]] = ("tower", "newline", "face_encoder", "ears")
    """What no phase trains."""

    def __init__(self, config: OmniEmotionConfig, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        adapted = with_lora(language_model, config) if config.lora_rank else language_model
        super().__init__(config, adapted, tokenizer)
        c, hidden = config, language_model.get_input_embeddings().embedding_dim
        self.stop = tokenizer.eos_token or SoftPromptLM.stop
        self.tower = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=c.tower_width,
                intermediate_size=c.tower_mlp,
                num_hidden_layers=c.tower_layers,
                num_attention_heads=c.tower_heads,
                image_size=c.image_size,
                patch_size=c.patch_size,
                vision_use_head=False,
            )
        )
        self.visual_projector = projector(c.tower_width, hidden)
        self.newline = _embedding(1, hidden)
        self.visual_marks = _embedding(2, hidden)
        self.frame_positions = Positions(c.frames, hidden)
        nn.init.zeros_(self.frame_positions.weight)  # LLaVA-OneVision begins as it was published
        if c.face_branch:
            self.face_encoder = FaceXFormerEncoder(c.face)
            self.face_projector = projector(c.face.fused, hidden)
            if c.fusion == "cross":
                self.face_attention = nn.MultiheadAttention(hidden, c.fusion_heads, batch_first=True)
                nn.init.zeros_(self.face_attention.out_proj.weight)  # faces begin as without it
        if c.audio_branch:
            self.ears = WhisperEars(c.audio)
            self.audio_projector = projector(c.audio.width, hidden)
            self.audio_marks = _embedding(2, hidden)

    def prompt(self, question: str, *, video: bool, audio: bool) -> str:
        """Visual tokens, audio tokens and the question as one turn; a text alone stands alone (Section 4.4)."""
        slots = "<vision_feature>" + "<audio_feature>" * self.config.audio_branch + "\n"
        turns = [{"role": "user", "content": slots * (video or audio) + question}]
        wanted = {"chat_template": self.tokenizer.chat_template or CHATML, "add_generation_prompt": True}
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, **wanted)
        # Some formats spell out what the tokenizer puts before a text anyway.
        return text.removeprefix(self.tokenizer.decode(self._ids("", first=True)))

    def encode(
        self, frames: Sequence[OmniClip] | None, audio: Sequence[Sound] | None
    ) -> dict[str, list[Float[Tensor, "soft hidden"]]]:
        """Soft tokens between their marks; zeros where a modality is absent.

        Raises:
            ValueError: sound for a model without an audio branch.
        """
        count = len(frames if frames is not None else audio)
        absent = self.newline.weight.new_zeros(self.config.absent_tokens, self.newline.embedding_dim)
        shown = [absent] * count if frames is None else self.encode_video(frames)
        soft = {"<vision_feature>": _between(self.visual_marks, shown)}
        if self.config.audio_branch:
            heard = [absent] * count if audio is None else self.encode_audio(audio)
            soft["<audio_feature>"] = _between(self.audio_marks, heard)
        elif audio is not None:
            raise ValueError("this model has no audio branch; leave audio out, or set audio_branch in its config")
        return soft

    def encode_video(self, clips: Sequence[OmniClip]) -> list[Float[Tensor, "_ hidden"]]:
        """Visual and facial tokens of each clip, joined as the config says.

        LLaVA-OneVision's own last token ends the visual ones, or all where each frame's stand together.
        """
        return [self._joined(clip) for clip in self.see(clips)]

    def encode_audio(self, sounds: Sequence[Sound]) -> list[Float[Tensor, "_ hidden"]]:
        """A token for each 60 ms of each clip's sound."""
        return [self.audio_projector(tokens) for tokens in self._cast(self.ears(sounds))]

    def see(self, clips: Sequence[OmniClip]) -> list[OmniClip]:
        """Clips with what the encoders make of frames and faces, before any part that is trained.

        Encoders run once a clip and not once an epoch, where that is kept (under `torch.no_grad`).
        """
        weight = self.tower.embeddings.patch_embedding.weight
        frames = encoded([clip.frames for clip in clips], 4, self._patches, weight)
        if not self.config.face_branch:
            return [OmniClip(each) for each in frames]
        with_faces = [clip.faces for clip in clips if clip.faces is not None]
        faces = iter(encoded(with_faces, 4, self.face_encoder, self.face_encoder.fuse.weight))
        return [
            OmniClip(each, None if clip.faces is None else next(faces), clip.found)
            for clip, each in zip(clips, frames, strict=True)
        ]

    def listen(self, sounds: Sequence[Sound]) -> list[Sound]:
        """The same for sound."""
        return [Sound(tokens, len(tokens)) for tokens in self.ears(sounds)]

    def begin(self, phase: int) -> Self:
        """Makes exactly the parts that a phase trains (`PHASES`) learn, whatever was frozen before.

        Raises:
            ValueError: no such phase, or the model has no part that it trains.
        """
        parts = {name for name, _ in self.named_children()}
        if phase not in PHASES or not parts & set(PHASES[phase]):
            raise ValueError(f"phase {phase!r} trains nothing of this model; there are {', '.join(map(str, PHASES))}")
        for name, weight in self.named_parameters():
            weight.requires_grad_("lora_" in name or not (self.config.lora_rank and name.startswith("language_model.")))
        self.frozen = ()
        return self.freeze(*sorted(parts - set(PHASES[phase])))

    def pixels(self, frames: UInt8[Tensor, "frames height width 3"]) -> Float[Tensor, "frames 3 size size"]:
        """Frames squeezed to a square and normalised, as LLaVA-OneVision's processor does with videos."""
        size, bicubic = [self.config.image_size] * 2, InterpolationMode.BICUBIC
        shown = vision.resize(frames.permute(0, 3, 1, 2), size, interpolation=bicubic, antialias=True)
        scaled = vision.to_dtype(shown, torch.float32, scale=True)
        return vision.normalize(scaled, IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)

    def face_pixels(self, crops: UInt8[Tensor, "faces height width 3"]) -> Float[Tensor, "faces 3 size size"]:
        """Crops of faces as FaceXFormer takes them; see `facexformer.face_pixels`."""
        return face_pixels(crops, self.config.face)

    def hear(self, waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Sound:
        """A recording as Whisper takes it; see `whisper_audio.hear`."""
        return hear(waveform, sample_rate, self.config.audio)

    @classmethod
    def from_released(
        cls, llava: str | Path, whisper: str | Path, facexformer: str | Path, *, dtype: torch.dtype, **changes: Any
    ) -> Self:
        """The model before phase 1: three released checkpoints, and projectors that have learned nothing yet.

        Args:
            llava: folder or hub id of a LLaVA-OneVision, the paper's `llava-hf/llava-onevision-qwen2-7b-ov-hf`.
            whisper: of a Whisper, the paper's `openai/whisper-large-v3`; its decoder is left out.
            facexformer: its released file.
            dtype: of all weights.
            changes: what differs in the config; the sizes of towers and ears are the checkpoints' own.

        Raises:
            ValueError: one of them cannot be loaded, or has missing or unknown weights.
        """
        source, ears = whole(LlavaOnevisionForConditionalGeneration, llava, dtype), released_ears(whisper, dtype)
        seen = source.config.vision_config
        config = OmniEmotionConfig(
            image_size=seen.image_size,
            patch_size=seen.patch_size,
            tower_width=seen.hidden_size,
            tower_mlp=seen.intermediate_size,
            tower_layers=seen.num_hidden_layers,
            tower_heads=seen.num_attention_heads,
            audio=ears.config,
        )
        words = read_processor(AutoTokenizer, llava)
        model = cls(replace(config, **changes), language_model_of(source), words).to(dtype)
        fill(model.tower, source.model.vision_tower.state_dict(), str(llava))
        fill(model.visual_projector, numbered(source.model.multi_modal_projector.state_dict()), str(llava))
        fill(model.newline, {"weight": source.model.image_newline.detach()[None]}, str(llava))
        if model.config.face_branch:
            model.face_encoder.load_original(facexformer)
        if model.config.audio_branch:
            fill(model.ears, ears.state_dict(), str(whisper))
        return model.eval()

    def fitting(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a model with other parts as this one takes them, so that ablations begin from one checkpoint.

        What this model has no part for is left out; a cross-attention that the other has not is as it is here.
        """
        weights, gone = dict(weights), OPTIONAL - {name for name, _ in self.named_children()}
        if not any(name.startswith("face_attention.") for name in weights):
            weights |= {name: value for name, value in own_weights(self).items() if name.startswith("face_attention.")}
        return {name: value for name, value in weights.items() if name.split(".")[0] not in gone}

    def _patches(self, frames: Float[Tensor, "frames 3 size size"]) -> Float[Tensor, "frames patches tower_width"]:
        """States of the last layer before the norm behind it, which LLaVA-OneVision takes."""
        return self.tower.encoder(inputs_embeds=self.tower.embeddings(frames)).last_hidden_state

    def _joined(self, clip: OmniClip) -> Float[Tensor, "tokens hidden"]:
        """Of one clip, from the encoders' states."""
        visual = halved(self.visual_projector(self._cast([clip.frames])[0]))
        positions = self.frame_positions(visual.new_zeros(len(clip), 1, visual.shape[-1]))
        visual, end = visual + positions, self.newline.weight
        if not self.config.face_branch:
            return torch.cat([visual.flatten(0, 1), end])
        facial = self._facial(clip, visual, positions)
        if self.config.fusion == "clip":
            return torch.cat([visual.flatten(0, 1), end, facial.flatten(0, 1)])
        return torch.cat([torch.cat([visual, facial], 1).flatten(0, 1), end])

    def _facial(
        self, clip: OmniClip, visual: Float[Tensor, "frames tokens hidden"], positions: Float[Tensor, "frames 1 hidden"]
    ) -> Float[Tensor, "frames face_tokens hidden"]:
        """Each frame's facial tokens, after they have looked at the visual ones where they do; zeros without a face."""
        facial = visual.new_zeros(len(clip), self.config.face.token_side**2, visual.shape[-1])
        places = clip.places()
        if not places:
            return facial
        tokens = self.face_projector(self._cast([clip.faces])[0]) + positions[places]
        if self.config.fusion == "cross":
            tokens = tokens + self.face_attention(tokens, visual[places], visual[places], need_weights=False)[0]
        return facial.index_copy(0, torch.tensor(places, device=facial.device), tokens.to(facial.dtype))

    def _cast(self, states: Sequence[Tensor]) -> list[Tensor]:
        """As the projectors take them: encoders may be in half precision where they are not."""
        return [each.to(self.newline.weight.dtype) for each in states]


def _embedding(count: int, hidden: int) -> nn.Embedding:
    table = nn.Embedding(count, hidden)
    nn.init.normal_(table.weight, std=0.02)
    return table


def _between(marks: nn.Embedding, clips: Sequence[Float[Tensor, "_ hidden"]]) -> list[Float[Tensor, "_ hidden"]]:
    first, last = marks.weight.split(1)
    return [torch.cat([first, tokens, last]) for tokens in clips]
