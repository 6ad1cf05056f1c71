"""MicroEmo: Video-LLaMA that knows when each frame was taken, looks closely at faces, and reads utterance by utterance.

Zhang et al. 2024, Section 3. Frames -> EVA-CLIP ViT-g/14 -> InstructBLIP's Q-Former, told the time of the frame, reads
all patches and, with the same queries again, those of the face's regions; both fused, 32 tokens a frame -> a position
for each frame -> one video Q-Former over each utterance's frames, another over all frames, 32 tokens each -> linear ->
LLaMA 2 with LoRA. Sound as in Video-LLaMA. Nothing was released; what the paper leaves out is chosen here and said so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import InstructBlipQFormerConfig, PreTrainedModel, PreTrainedTokenizerBase

from reaffect.models.checkpoints import fill, own_weights, read_released
from reaffect.models.dialogue_clip import DialogueClip
from reaffect.models.local_attention import LocalClues, watched
from reaffect.models.qformer import LAVIS_NAMES, QFormer, padded
from reaffect.models.soft_prompt import with_lora
from reaffect.models.timestamps import VOCABULARY, timestamp_tokens
from reaffect.models.video_llama import EVA_NAMES, NAMES, SPARE, VideoLLaMA, VideoLLaMAConfig, with_key_bias

TEXT_NAMES = tuple(
    (r"text_Qformer\." + theirs, "image_qformer." + ours)
    for theirs, ours in (
        (r"bert\.embeddings\.LayerNorm\.", "qformer.embeddings.layernorm."),
        (r"bert\.embeddings\.((?:word|position)_embeddings\.)", r"qformer.embeddings.\1"),
        (r"bert\.(encoder\.layer\.\d+\.(?:intermediate|output)\.)", r"qformer.\1"),
        *LAVIS_NAMES[1:],
    )
)
"""InstructBLIP's names of a Q-Former that reads text, after `Qformer` was renamed `text_Qformer` -> ours; patterns."""

TEXT_SPARE = r"text_Qformer\.(cls\.|bert\.embeddings\.position_ids)|llm_(proj|model)\."

ABLATIONS: dict[str, dict[str, bool]] = {
    "MicroEmo": {},
    "w/o utterance-aware V-QF": {"utterance_windows": False},
    "w/o global-local AVE": {"local_clues": False, "timestamps": False},
    "w/o all proposed modules": {"local_clues": False, "timestamps": False, "utterance_windows": False},
}
"""Rows of Table 2 -> what differs in the config. Section 3.2 describes timestamps as part of the visual encoder."""


@dataclass(frozen=True)
class MicroEmoConfig(VideoLLaMAConfig):
    """Sizes and parts; the paper's by default, with Video-LLaMA's, InstructBLIP's and a relative's where it is silent.

    Raises:
        ValueError: longer clips are to be pooled, which would leave utterances without their frames.
    """

    local_clues: bool = True
    local_heads: int = 16
    timestamps: bool = True
    utterance_windows: bool = True
    audio_branch: bool = True
    lora_rank: int = 32
    lora_alpha: int = 32
    lora_dropout: float = 0.1

    def __post_init__(self):
        if self.longer != "interpolate":
            raise ValueError(f"positions of longer clips: {self.longer!r}; windows need 'interpolate'")


PARTS = re.compile(
    r"(local|utterance_qformer|ears|segment_positions|audio_qformer|audio_projection)\."
    r"|image_qformer\.qformer\.(layernorm|embeddings|encoder\.layer\.\d+\.(intermediate|output))\."
)
"""Names of weights that a model has or has not, as its config says."""


class ClipAttention(NamedTuple):
    """Where a clip was looked at. Shares: means over layers, heads and queries."""

    patches: Float[Tensor, "frames patches"]
    """Of the local reading; zero outside of regions, and in frames without a face."""

    regions: Float[Tensor, "frames regions"]
    """The same by region; a patch counts in each region that it belongs to."""

    whole: Float[Tensor, " frames"]
    """Of the video Q-Former over the whole clip."""

    windows: Float[Tensor, "windows frames"]
    """Of the one over utterances; zero outside of each window."""

    utterances: list[int]
    """The number of each window's utterance."""


class MicroEmo(VideoLLaMA):
    """Questions about frames, sound or both of a dialogue; its `frames` are of type `DialogueClip`.

    Parts that the config switches off are not there: they have no parameters.

    Args:
        config: sizes and parts.
        language_model: any causal one with projections named as LLaMA's; it is given LoRA here, in place.
        tokenizer: its own.
    """

    config_class = MicroEmoConfig
    published: ClassVar[tuple[str, ...]] = ("tower", "ears")
    """What the paper does not train, besides the language model's own weights, which LoRA freezes."""

    def __init__(self, config: MicroEmoConfig, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        super().__init__(config, with_lora(language_model, config), tokenizer)
        if config.timestamps:
            self.image_qformer = QFormer(_text_reader(config), config.image_queries)
        if config.local_clues:
            self.local = LocalClues(config.tower_width, config.local_heads, config.width)
        if config.utterance_windows:
            self.utterance_qformer = QFormer(self.video_qformer.qformer.config, config.video_queries)
        if not config.audio_branch:
            del self.ears, self.segment_positions, self.audio_qformer, self.audio_projection
            self.published = ("tower",)

    def prompt(self, question: str, *, video: bool, audio: bool) -> str:
        """Video tokens, audio tokens, then subtitle and instruction, one after the other (Section 3.4)."""
        shown = "<Video><ImageHere></Video> " * video + "<Audio><AudioHere></Audio> " * audio
        return f"###Human: {shown}{question}###Assistant:"

    def encode_video(self, frames: Sequence[DialogueClip]) -> list[Float[Tensor, "_ hidden"]]:
        """Soft tokens of each clip: as many as `video_queries`, and the same for each window with words before it."""
        return self.read_patches(self.see(frames), frames)

    def encode_audio(
        self, audio: Sequence[Float[Tensor, "_ 1 mel time"]]
    ) -> Float[Tensor, "batch audio_queries hidden"]:
        """As Video-LLaMA.

        Raises:
            ValueError: the model has no audio branch.
        """
        if not self.config.audio_branch:
            raise ValueError("this model has no audio branch; leave audio out, or set audio_branch in its config")
        return super().encode_audio(audio)

    def see(self, clips: Sequence[DialogueClip]) -> list[Float[Tensor, "_ tokens tower_width"]]:
        """The tower's tokens of each clip's frames; those of clips that bring them are left as they are."""
        weight = self.image_qformer.query_tokens
        tokens = [
            self.tower(clip.frames.to(self.tower.device, self.tower.dtype)).last_hidden_state
            if clip.frames.ndim == 4
            else clip.frames
            for clip in clips
        ]
        return [each.to(weight.device, weight.dtype) for each in tokens]

    def read_patches(
        self, patches: Sequence[Float[Tensor, "_ tokens tower_width"]], clips: Sequence[DialogueClip]
    ) -> list[Float[Tensor, "_ hidden"]]:
        """Soft tokens from the tower's: of the whole clip, then of each utterance in order."""
        placed = [self.frame_positions(tokens) for tokens in self.read_frames(patches, clips)]
        whole = self.video_projection(self.video_qformer(*padded([tokens.flatten(0, 1) for tokens in placed])))
        if not self.config.utterance_windows:
            return list(whole)
        windows = [
            tokens[frames.to(tokens.device)].flatten(0, 1)
            for tokens, clip in zip(placed, clips, strict=True)
            for _, frames in _spoken(clip)
        ]
        read = iter(self.video_projection(self.utterance_qformer(*padded(windows))) if windows else ())
        rows = []
        for clip, tokens in zip(clips, whole, strict=True):
            parts = [
                part for number, _ in _spoken(clip) for part in (self.when(clip.utterances[number][0]), next(read))
            ]
            rows.append(torch.cat([tokens, *parts]))
        return rows

    def read_frames(
        self, patches: Sequence[Float[Tensor, "_ tokens tower_width"]], clips: Sequence[DialogueClip]
    ) -> list[Float[Tensor, "_ image_queries width"]]:
        """Tokens of each frame: what the queries read in all of it, fused with what they read in the face, if any."""
        states, counts = torch.cat(list(patches)), [len(clip) for clip in clips]
        text = self._timestamps(clips)
        tokens = self.image_qformer(states, **text)
        places, regions = _faces(clips)
        if self.config.local_clues and places:
            at = torch.tensor(places, device=states.device)
            clues, real = self.local(states[at, 1:], torch.stack(regions).to(states.device))
            locally = self.image_qformer(clues, real, **{name: value[at] for name, value in text.items()})
            tokens = tokens.index_copy(0, at, self.local.fuse(tokens[at], locally))
        return list(tokens.split(counts))

    def when(self, start_s: float) -> Float[Tensor, "words hidden"]:
        """What stands before an utterance's soft tokens, in the language model's own words: they do not tell when."""
        embed = self.language_model.get_input_embeddings()
        ids = self._ids(f" At {start_s:.1f}s: ", first=False)
        return embed(torch.tensor(ids, device=embed.weight.device)).to(self.video_projection.weight.dtype)

    @torch.inference_mode()
    def attentions(self, clips: Sequence[DialogueClip]) -> list[ClipAttention]:
        """Where each clip is looked at, for figures; in evaluation mode, as dropout drops attention too.

        Raises:
            ValueError: the model has no local clues or no utterance windows to look with.
        """
        if not (self.config.local_clues and self.config.utterance_windows):
            raise ValueError("attentions are of the whole model; this one lacks local_clues or utterance_windows")
        with (
            watched(self.image_qformer) as by_image,
            watched(self.utterance_qformer) as by_window,
            watched(self.video_qformer) as by_video,
        ):
            self.encode_video(clips)
        places, regions = _faces(clips)
        local = by_image[0].new_zeros(len(by_image[0]), by_image[0].shape[1] - 1)
        for row, (place, mask) in enumerate(zip(places, regions, strict=True)):
            inside = mask.any(0).to(local.device)
            local[place, inside] = by_image[1][row, : inside.sum()]
        by_clip = local.split([len(clip) for clip in clips])
        read = iter(by_window[0] if by_window else ())
        return [
            self._attention(clip, patches, whole, [next(read) for _ in _spoken(clip)])
            for clip, patches, whole in zip(clips, by_clip, by_video[0], strict=True)
        ]

    def load_original(self, paths: Sequence[str | Path]) -> None:
        """Loads everything but the language model and the local clues from released files, later ones over earlier.

        Both video Q-Formers begin as Video-LLaMA's one (Section 4.1). Weights of parts that are switched off are left.

        Args:
            paths: `eva_vit_g.pth`, `instruct_blip_vicuna7b_trimmed.pth`, `imagebind_huge.pth`,
                `finetune-vicuna7b-v2.pth` and `finetune_vicuna7b_audiobranch.pth`, as released.

        Raises:
            ValueError: a file is no torch checkpoint or holds unknown names; or all together leave out weights.
        """
        spare = rf"{SPARE}|{TEXT_SPARE}|(visual_encoder\.)?blocks\.{self.config.tower_layers}\."
        names = (*EVA_NAMES, *TEXT_NAMES, *NAMES)
        weights, source = read_released(paths, names, spare, self._told_apart)
        if not self.config.audio_branch:
            heard = ("ears.", "segment_positions.", "audio_")
            weights = {name: value for name, value in weights.items() if not name.startswith(heard)}
        if self.config.utterance_windows:
            weights |= _copied(weights, "video_qformer.", "utterance_qformer.")
        fill(self, weights, source, optional=r"(language_model|local)\.")

    def fitting(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a model with other parts as this one takes them, so that ablations begin from one checkpoint.

        Utterance windows begin as the video Q-Former, local clues as they are here, and a Q-Former that is told no
        timestamps as the one that is. What this model has no part for is left out.
        """
        weights = dict(weights)
        if not self.config.timestamps:
            told, untold = (f"image_qformer.qformer.{name}layernorm." for name in ("embeddings.", ""))
            weights |= _copied(weights, told, untold)
        if self.config.utterance_windows and not any(name.startswith("utterance_qformer.") for name in weights):
            weights |= _copied(weights, "video_qformer.", "utterance_qformer.")
        own = own_weights(self)
        begun = {name: value for name, value in own.items() if name.startswith("local.")} | weights
        return {name: value for name, value in begun.items() if name in own or not PARTS.match(name)}

    def _told_apart(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights, with another name for the Q-Former that reads text, if ours does."""
        weights = with_key_bias(weights)
        if not self.config.timestamps:
            return weights
        return {re.sub(r"^Qformer\.", "text_Qformer.", name): value for name, value in weights.items()}

    def _timestamps(self, clips: Sequence[DialogueClip]) -> dict[str, Tensor]:
        """Arguments that condition the image Q-Former, a row for each frame; none if it is not conditioned."""
        if not self.config.timestamps:
            return {}
        text, real = timestamp_tokens([time for clip in clips for time in clip.times_s])
        device = self.image_qformer.query_tokens.device
        return {"text": text.to(device), "text_mask": real.to(device)}

    def _attention(
        self, clip: DialogueClip, patches: Tensor, whole: Tensor, read: Sequence[Float[Tensor, " tokens"]]
    ) -> ClipAttention:
        """One clip's, from shares by patch and by token of the video Q-Formers; last tokens may be padding."""

        def by_frame(shares: Tensor, frames: int) -> Tensor:
            return shares[: frames * self.config.image_queries].unflatten(0, (frames, -1)).sum(1)

        spoken = _spoken(clip)
        windows = whole.new_zeros(len(spoken), len(clip))
        for row, (_, frames) in enumerate(spoken):
            windows[row, frames.to(windows.device)] = by_frame(read[row], len(frames))
        masks = patches.new_zeros(len(clip), 0, patches.shape[1]) if clip.regions is None else clip.regions
        by_region = (masks.to(patches) @ patches[..., None])[..., 0]
        return ClipAttention(patches, by_region, by_frame(whole, len(clip)), windows, [number for number, _ in spoken])


def _text_reader(config: MicroEmoConfig) -> InstructBlipQFormerConfig:
    return InstructBlipQFormerConfig(
        vocab_size=VOCABULARY,
        hidden_size=config.width,
        intermediate_size=config.mlp,
        num_attention_heads=config.heads,
        num_hidden_layers=config.image_layers,
        encoder_hidden_size=config.tower_width,
        cross_attention_frequency=2,
    )


def _spoken(clip: DialogueClip) -> list[tuple[int, Tensor]]:
    """Number and frames of each utterance that has frames."""
    return [(number, window) for number, window in enumerate(clip.windows()) if window is not None]


def _faces(clips: Sequence[DialogueClip]) -> tuple[list[int], list[Tensor]]:
    """Places of the frames with a face among all clips' frames, and their regions' masks."""
    faces = [face for clip in clips for face in clip.faces()]
    masks = [mask for clip in clips for mask in (clip.regions if clip.regions is not None else [None] * len(clip))]
    places = [place for place, face in enumerate(faces) if face]
    return places, [masks[place] for place in places]


def _copied(weights: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    return {target + name.removeprefix(source): value for name, value in weights.items() if name.startswith(source)}
