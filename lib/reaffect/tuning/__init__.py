"""The instruction-tuning loop: a language model with soft prompts learns to answer questions about clips.

Loss on the answers alone, adapters and nothing frozen in the files, the epoch chosen by what the model generates for
clips that are not reported. A run that was killed goes on where its last state was kept and ends as if it had not been.
"""

from reaffect.tuning.kept import load_adapters
from reaffect.tuning.lessons import Lesson, bucketed
from reaffect.tuning.loop import Tuned, tune
from reaffect.tuning.recipe import Recipe

__all__ = ["Lesson", "Recipe", "Tuned", "bucketed", "load_adapters", "tune"]
