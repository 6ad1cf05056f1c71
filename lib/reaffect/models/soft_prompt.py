"""A language model that reads soft tokens: what stands among its words comes from other networks.

The form that Video-LLaMA (Zhang, Li and Bing 2023, Section 2) and PandaGPT (Su et al. 2023, Section 3) have in common.
"""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutputWithPast

from reaffect.models.checkpoints import config_from, fill, own_weights, read_processor


class SoftPromptLM(nn.Module):
    """A language model that reads soft tokens in the slots of its prompt: what Video-LLaMA and its kin share.

    A subclass says how a question is worded (`prompt`) and what fills the slots (`encode`), and takes
    `(config, language_model, tokenizer)`. Calling it trains, `generate` answers.

    Args:
        language_model: any causal one.
        tokenizer: its own.
    """

    config_class: ClassVar[type]
    stop: ClassVar[str] = "###"
    """Ends every turn, so that an answer is over where the model writes it."""
    reply: ClassVar[str] = " {answer}\n{stop}"
    """How an answer follows the prompt when it is learned."""

    def __init__(self, config: Any, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        super().__init__()
        self.config = config
        self.language_model = language_model
        self.tokenizer = tokenizer
        self.frozen: tuple[str, ...] = ()

    def prompt(self, question: str, *, video: bool, audio: bool) -> str:
        """The question as the model knows it from training, with a slot for each modality that is there."""
        raise NotImplementedError

    def encode(
        self, frames: Sequence[Tensor] | None, audio: Sequence[Tensor] | None
    ) -> dict[str, Float[Tensor, "batch soft width"]]:
        """Soft tokens by the slot that they fill."""
        raise NotImplementedError

    def forward(
        self,
        questions: Sequence[str],
        frames: Sequence[Float[Tensor, "_ 3 size size"]] | None = None,
        audio: Sequence[Float[Tensor, "_ 1 mel time"]] | None = None,
        answers: Sequence[str] | None = None,
    ) -> CausalLMOutputWithPast:
        """Logits and, with answers, the mean cross-entropy over the answers' tokens and the mark that ends them.

        Rows are padded on the left, so that answers end side by side. With answers, logits are computed where the
        longest one stands and not before: a vocabulary is large, most of a prompt is not learned.

        Args:
            questions: plain; they are put into the model's own prompt.
            frames: of each clip, any number, what `pixels` returns; None where the batch has no video.
            audio: of each clip, any number of segments, what `mel_clips` returns; None where it has no audio.
            answers: what is learned.

        Raises:
            ValueError: not as many clips as questions or answers, a clip without frames or segments, or a slot's
                name in a question.
        """
        batch, mask, labels = self._inputs(questions, frames, audio, answers)
        if labels is None:
            return self.language_model(inputs_embeds=batch, attention_mask=mask)
        kept = int((labels != -100).sum(1).max()) + 1  # and the place from which the first token is told
        # as indices: a slice would not lie in one piece, and the vocabulary's matrix be copied for each row
        places = torch.arange(batch.shape[1] - kept, batch.shape[1], device=batch.device)
        return self.language_model(
            inputs_embeds=batch, attention_mask=mask, labels=labels[:, -kept:], logits_to_keep=places
        )

    @torch.inference_mode()
    def generate(
        self,
        questions: Sequence[str],
        frames: Sequence[Float[Tensor, "_ 3 size size"]] | None = None,
        audio: Sequence[Float[Tensor, "_ 1 mel time"]] | None = None,
        *,
        max_new_tokens: int = 128,
    ) -> list[str]:
        """Answers, decoded greedily, up to `stop`; arguments and errors as for `forward`."""
        batch, mask, _ = self._inputs(questions, frames, audio, None)
        rest = self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        tokens = self.language_model.generate(
            inputs_embeds=batch,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=rest,
            stopping_criteria=[self._stopped],
            logits_to_keep=torch.tensor([-1], device=batch.device),  # an index, for the reason given in `forward`
        )
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.split(self.stop)[0].strip() for text in texts]

    @torch.inference_mode()
    def lengths(
        self,
        questions: Sequence[str],
        frames: Sequence[Float[Tensor, "_ 3 size size"]] | None = None,
        audio: Sequence[Float[Tensor, "_ 1 mel time"]] | None = None,
        answers: Sequence[str] | None = None,
    ) -> tuple[list[int], list[int]]:
        """Tokens of each row without padding, soft ones included, and how many of them are learned.

        For those who batch rows of like length. Arguments and errors as for `forward`; everything runs but the
        language model.
        """
        _, mask, labels = self._inputs(questions, frames, audio, answers)
        learned = torch.zeros_like(mask) if labels is None else labels != -100
        return mask.sum(1).tolist(), learned.sum(1).tolist()

    def freeze(self, *parts: str) -> Self:
        """Keeps parts (attributes that are modules) as they are: no gradient, and no dropout while the rest trains."""
        self.frozen = (*self.frozen, *parts)
        for part in parts:
            self.get_submodule(part).requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self.frozen:
            self.get_submodule(part).eval()
        if self.language_model.device.type == "cpu" and self.language_model.dtype == torch.bfloat16:
            # there, gradients go back through PyTorch's own attention more slowly
            self.language_model.set_attn_implementation("eager" if mode else "sdpa")
        return self

    def save_pretrained(self, folder: str | Path, *, language_model: bool = True) -> None:
        """Writes config.json, the tokenizer's files and model.safetensors.

        Args:
            folder: made if it is not there.
            language_model: False leaves out the language model's frozen weights, which are published elsewhere, but no
                LoRA; `from_pretrained` then has to be given that model.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        described = {**dataclasses.asdict(self.config), "language_model": self.language_model.config.to_dict()}
        (folder / "config.json").write_text(json.dumps(described, indent=2, default=str) + "\n")
        self.tokenizer.save_pretrained(folder)
        weights = {
            name: value.detach().contiguous()
            for name, value in own_weights(self).items()
            if language_model or not name.startswith("language_model.") or value.requires_grad or "lora_" in name
        }
        save_file(weights, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path, language_model: PreTrainedModel | None = None, **changes: Any) -> Self:
        """What `save_pretrained` wrote, in evaluation mode.

        Args:
            folder: holds config.json, the tokenizer's files and model.safetensors.
            language_model: its weights serve where the folder holds none.
            changes: what differs in the config; weights must fit it, see `fitting`.

        Raises:
            ValueError: the folder is no such checkpoint, or weights are missing or of other shapes.
        """
        folder = Path(folder)
        try:
            values = json.loads((folder / "config.json").read_text())
            described = values.pop("language_model")
            weights = load_file(folder / "model.safetensors")
            tokenizer = read_processor(AutoTokenizer, folder)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ValueError(f"{folder}: no checkpoint of {cls.__name__} ({error}); name another folder") from error
        given = language_model is not None
        if not given:
            language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**described))
        model = cls(config_from(cls.config_class, values | changes), language_model, tokenizer)
        fill(model, model.fitting(weights), str(folder), optional=r"language_model\." if given else "(?!)")
        return model.eval()

    def fitting(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's weights as this model takes them; for subclasses whose config leaves parts out."""
        return dict(weights)

    def _inputs(
        self,
        questions: Sequence[str],
        frames: Sequence[Tensor] | None,
        audio: Sequence[Tensor] | None,
        answers: Sequence[str] | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings (batch, tokens, width), mask and labels; padded on the left, so that all rows end together."""
        for name, clips in (("frames", frames), ("audio", audio), ("answers", answers)):
            if clips is not None and len(clips) != len(questions):
                raise ValueError(f"{name} of {len(clips)} clips for {len(questions)} questions; pass one for each")
        for name, clips in (("frames", frames), ("audio", audio)):
            if any(not len(clip) for clip in clips or ()):
                raise ValueError(f"a clip without {name}; leave the modality out where it is absent")
        soft = self.encode(frames, audio) if frames is not None or audio is not None else {}
        rows, targets = [], []
        for row, question in enumerate(questions):
            prompt = self.prompt(question, video=frames is not None, audio=audio is not None)
            answer = answers[row] if answers is not None else None
            embedded, target = self._row(prompt, {slot: tokens[row] for slot, tokens in soft.items()}, answer)
            rows.append(embedded)
            targets.append(target)
        batch = pad_sequence(rows, batch_first=True, padding_side="left")
        mask = pad_sequence([torch.ones_like(row) for row in targets], batch_first=True, padding_side="left")
        labels = pad_sequence(targets, batch_first=True, padding_value=-100, padding_side="left")
        return batch, mask, labels if answers is not None else None

    def _stopped(self, tokens: Int[Tensor, "batch fresh"], _scores: Tensor) -> Bool[Tensor, " batch"]:
        """Which answers have just been ended; as many tokens as `stop` has letters suffice to see it."""
        texts = self.tokenizer.batch_decode(tokens[:, -len(self.stop) :])
        return torch.tensor([self.stop in text for text in texts], device=tokens.device)

    def _row(self, prompt: str, soft: Mapping[str, Tensor], answer: str | None) -> tuple[Tensor, Tensor]:
        """Embeddings and labels (-100 but on the answer) of one prompt."""
        pieces = re.split("|".join(map(re.escape, soft)) or "(?!)", prompt)
        slots = re.findall("|".join(map(re.escape, soft)) or "(?!)", prompt)
        if sorted(slots) != sorted(soft):
            raise ValueError(f"a question names the slots {slots}; leave {', '.join(soft)} to the prompt")
        embed = self.language_model.get_input_embeddings()
        ids = [self._ids(piece, first=not place) for place, piece in enumerate(pieces)]
        known = len(ids[-1])
        if answer is not None:
            # Tokenised with the words before it, as the boundary's space is written differently by each tokenizer.
            whole = self._ids(pieces[-1] + self.reply.format(answer=answer, stop=self.stop), first=not slots)
            known = next((k for k, (a, b) in enumerate(zip(ids[-1], whole, strict=False)) if a != b), known)
            ids[-1] = whole
        words = [embed(torch.tensor(piece, dtype=torch.long, device=embed.weight.device)) for piece in ids]
        parts = [words[0]]
        for slot, following in zip(slots, words[1:], strict=True):
            parts += [soft[slot].to(following.dtype), following]
        embedded = torch.cat(parts)
        target = torch.full((len(embedded),), -100, device=embedded.device)
        fresh = len(ids[-1]) - known
        if fresh:
            target[-fresh:] = torch.tensor(ids[-1][known:], device=target.device)
        return embedded, target

    def _ids(self, text: str, first: bool) -> list[int]:
        """Token ids; only the prompt's first piece has what the tokenizer puts before a text."""
        return self.tokenizer(text, add_special_tokens=first).input_ids


def with_lora(language_model: PreTrainedModel, config: Any) -> PeftModel:
    """A language model given LoRA, in place, on the projections of its attention, which are named as LLaMA's.

    Args:
        language_model: its own weights are frozen.
        config: with `lora_rank`, `lora_alpha` and `lora_dropout`.
    """
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    )
    with warnings.catch_warnings():  # peft asks transformers by a name that will go
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        return get_peft_model(language_model, lora)
