# Order and staleness of everything that is made. `make reproduce` calls it.
# A profile only names parameter files: params/<profile>/common.yaml and params/<profile>/NN.yaml.
# The tiny profile has none, for it is the notebooks' own defaults.
import re

from reaffect import paths

PROFILE = config.get("profile", "tiny")
NOTEBOOKS = {path.stem[:2]: path for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
SYNTHETIC = sorted((paths.ROOT / "lib/reaffect/synthetic").glob("*.py"))
LIBRARY = [path for path in (paths.ROOT / "lib/reaffect").rglob("*.py") if path not in SYNTHETIC]

# Builders compare fingerprints themselves and return at once when nothing changed, so Snakemake
# keeps stamps: it would delete the real files before each call.
HUME = paths.CORPORA / "hume.stamp"
EALD = paths.CORPORA / "eald.stamp"
EMER = paths.CORPORA / "emer.stamp"
DFEW = paths.CORPORA / "dfew.stamp"
MAFW = paths.CORPORA / "mafw.stamp"
SOUNDS = paths.CORPORA / "sounds.stamp"
VIDEO_LLAVA = paths.CHECKPOINTS / "video-llava-tiny.stamp"
IMAGE_MODELS = paths.CHECKPOINTS / "image-models-tiny.stamp"
WAVLM = paths.CHECKPOINTS / "wavlm-tiny.stamp"
SMOLLM2 = paths.CHECKPOINTS / "smollm2.stamp"
VIDEO_LLAMA = paths.CHECKPOINTS / "video-llama-tiny.stamp"
MICROEMO = paths.CHECKPOINTS / "microemo-tiny.stamp"
OMNI_EMOTION = paths.CHECKPOINTS / "omni-emotion-tiny.stamp"
VIDEO_NETS = paths.CHECKPOINTS / "video-nets-tiny.stamp"
# Stamps, and the folders that each stands for, as notebooks' parameters name them.
EMBEDDED = {
    HUME: ("hume", "hume_unseen"),
    EALD: ("eald",),
    EMER: ("emer",),
    DFEW: ("dfew", "dfew_without_face"),
    MAFW: ("mafw",),
    SOUNDS: ("sounds",),
    VIDEO_LLAVA: ("video-llava-tiny",),
    IMAGE_MODELS: ("llava-tiny", "clip-tiny", "vision-tiny"),
    WAVLM: ("wavlm-tiny",),
    SMOLLM2: ("smollm2",),
    VIDEO_LLAMA: ("video-llama-tiny", "pandagpt-tiny"),
    MICROEMO: ("microemo-tiny",),
    OMNI_EMOTION: ("omni-emotion-tiny",),
    VIDEO_NETS: ("video-nets-tiny",),
}

# Priorities of builders: minutes until they and all that waits for them are done, so that the longest chain begins first.
# Builders and small models gain little from more threads: two at a time take less than one after the other.
HALF = max(1, workflow.cores // 2)

# What a notebook finds because another has put it there.
AFTER = {"03": ["02"], "04": ["03"], "05": ["02", "03"], "07": ["06"], "10": ["09"], "11": ["05"]}


def named(notebook):
    """Of the embedded corpora and checkpoints those that a notebook names: it waits for no others."""
    folders = set(re.findall(r"(?:corpora|checkpoints)/([\w-]+)", notebook.read_text()))
    return [stamp for stamp, own in EMBEDDED.items() if folders & set(own)]


def prerequisites(wildcards):
    """The corpora and checkpoints (licensed ones are the user's), earlier notebooks, and the parameters."""
    earlier = [number for number in NOTEBOOKS if number != "12"] if wildcards.number == "12" else AFTER.get(wildcards.number, [])
    params = paths.PARAMS / PROFILE
    return [
        NOTEBOOKS[wildcards.number],
        *LIBRARY,
        *(named(NOTEBOOKS[wildcards.number]) if PROFILE != "paper" else []),
        *(params.glob("common.yaml")),
        *(params.glob(f"{wildcards.number}*.yaml")),
        *(paths.REPORTS / PROFILE / f"{number}.json" for number in earlier),
    ]


rule reproduce:
    input:
        expand(str(paths.REPORTS / PROFILE / "{number}.json"), number=NOTEBOOKS),
        expand(str(paths.REPORTS / PROFILE / "notebooks/{number}.ipynb"), number=NOTEBOOKS),


rule embedded:
    input:
        list(EMBEDDED),


rule hume:
    input:
        SYNTHETIC,
    output:
        touch(HUME),
    threads: HALF
    priority: 10
    message:
        "Building the embedded corpus hume"
    shell:
        "python -m reaffect.synthetic hume --root {paths.CORPORA:q} --workers {threads}"


rule eald:
    input:
        SYNTHETIC,
    output:
        touch(EALD),
    threads: HALF
    priority: 9
    message:
        "Building the embedded corpus eald"
    shell:
        "python -m reaffect.synthetic eald --root {paths.CORPORA:q} --workers {threads}"


rule emer:
    input:
        SYNTHETIC,
    output:
        touch(EMER),
    threads: HALF
    priority: 11
    message:
        "Building the embedded corpus emer"
    shell:
        "python -m reaffect.synthetic emer --root {paths.CORPORA:q} --workers {threads}"


rule dfew:
    input:
        SYNTHETIC,
    output:
        touch(DFEW),
    threads: HALF
    priority: 11
    message:
        "Building the embedded corpus dfew, with and without faces that tell something"
    shell:
        "python -m reaffect.synthetic dfew --root {paths.CORPORA:q} --workers {threads}"
        " && python -m reaffect.synthetic dfew --root {paths.CORPORA:q} --uninformative face --workers {threads}"


rule mafw:
    input:
        SYNTHETIC,
    output:
        touch(MAFW),
    threads: HALF
    priority: 11
    message:
        "Building the embedded corpus mafw"
    shell:
        "python -m reaffect.synthetic mafw --root {paths.CORPORA:q} --workers {threads}"


rule sounds:
    input:
        SYNTHETIC,
    output:
        touch(SOUNDS),
    threads: HALF
    priority: 8
    message:
        "Building the embedded corpus sounds"
    shell:
        "python -m reaffect.synthetic sounds --root {paths.CORPORA:q} --workers {threads}"


rule video_llava:
    input:
        SYNTHETIC,
    output:
        touch(VIDEO_LLAVA),
    threads: HALF
    priority: 14
    message:
        "Training the small Video-LLaVA"
    shell:
        "python -m reaffect.synthetic video-llava --folder {paths.CHECKPOINTS:q}/video-llava-tiny --workers {threads}"


rule image_models:
    input:
        SYNTHETIC,
        VIDEO_LLAVA,
    output:
        touch(IMAGE_MODELS),
    threads: HALF
    priority: 6
    message:
        "Making the small LLaVA, CLIP and vision tower"
    shell:
        "python -m reaffect.synthetic image-models --root {paths.CHECKPOINTS:q}"
        " --video-llava {paths.CHECKPOINTS:q}/video-llava-tiny --workers {threads}"


rule wavlm:
    input:
        SYNTHETIC,
    output:
        touch(WAVLM),
    priority: 6
    message:
        "Training the small WavLM"
    shell:
        "python -m reaffect.synthetic wavlm --folder {paths.CHECKPOINTS:q}/wavlm-tiny"


rule smollm2:
    input:
        paths.ROOT / "lib/reaffect/synthetic/smollm2.py",
    output:
        touch(SMOLLM2),
    priority: 17
    message:
        "Unpacking SmolLM2"
    shell:
        "python -m reaffect.synthetic smollm2 --folder {paths.CHECKPOINTS:q}/smollm2"


rule video_llama:
    input:
        SYNTHETIC,
        SMOLLM2,
        (paths.ROOT / "lib/reaffect/models").glob("*.py"),
    output:
        touch(VIDEO_LLAMA),
    threads: HALF
    priority: 16
    message:
        "Teaching the small Video-LLaMA and PandaGPT"
    shell:
        "python -m reaffect.synthetic video-llama --root {paths.CHECKPOINTS:q}"
        " --smollm2 {paths.CHECKPOINTS:q}/smollm2 --workers {threads}"


rule microemo:
    input:
        SYNTHETIC,
        SMOLLM2,
        (paths.ROOT / "lib/reaffect/models").glob("*.py"),
    output:
        touch(MICROEMO),
    threads: HALF
    priority: 13
    message:
        "Teaching the small MicroEmo"
    shell:
        "python -m reaffect.synthetic microemo --folder {paths.CHECKPOINTS:q}/microemo-tiny"
        " --smollm2 {paths.CHECKPOINTS:q}/smollm2 --workers {threads}"


rule omni_emotion:
    input:
        SYNTHETIC,
        SMOLLM2,
        (paths.ROOT / "lib/reaffect/models").glob("*.py"),
    output:
        touch(OMNI_EMOTION),
    threads: HALF
    priority: 14
    message:
        "Teaching the small Omni-Emotion"
    shell:
        "python -m reaffect.synthetic omni-emotion --folder {paths.CHECKPOINTS:q}/omni-emotion-tiny"
        " --smollm2 {paths.CHECKPOINTS:q}/smollm2 --workers {threads}"


rule video_nets:
    input:
        SYNTHETIC,
        (paths.ROOT / "lib/reaffect/models").glob("*.py"),
    output:
        touch(VIDEO_NETS),
    threads: HALF
    priority: 4
    message:
        "Training the five small supervised systems"
    shell:
        "python -m reaffect.synthetic video-nets --folder {paths.CHECKPOINTS:q}/video-nets-tiny --workers {threads}"


rule notebook:
    input:
        prerequisites,
    output:
        record=paths.REPORTS / PROFILE / "{number}.json",
        executed=paths.REPORTS / PROFILE / "notebooks/{number}.ipynb",
    priority: 20  # what can be read already is not kept waiting by what must be built
    threads: workflow.cores if PROFILE == "paper" else HALF  # a large model wants the GPU for itself
    message:
        "Notebook {wildcards.number}"
    shell:
        "python -m reaffect.runner {wildcards.number} --profile {PROFILE} --output {output.executed:q}"
