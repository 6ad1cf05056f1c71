"""The loss curve, and that it grows in place in a notebook."""

from __future__ import annotations

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
from nbclient import NotebookClient

from reaffect import plots


def test_loss_curve():
    history = pd.DataFrame({"step": range(1, 9), "epoch": [1] * 4 + [2] * 4, "loss": np.linspace(4, 1, 8)})
    scores = pd.Series([0.7, 0.2], [1, 2])
    figure, axis = plt.subplots()
    assert plots.loss_curve(history, scores, axis) is axis
    raw, smooth = axis.lines
    np.testing.assert_array_equal(raw.get_xydata(), history[["step", "loss"]])
    assert raw.get_linestyle() == "None" and raw.get_marker() == "."  # one step is seen, too
    assert (np.diff(smooth.get_ydata()) < 0).all()
    every, best = figure.axes[1].lines
    np.testing.assert_array_equal(every.get_xydata(), [[4, 0.7], [8, 0.2]])
    np.testing.assert_array_equal(best.get_xydata(), [[4, 0.7]])
    assert len(plots.loss_curve(history, scores[:0], plt.figure().add_subplot()).figure.axes) == 1
    plt.close("all")


def test_the_live_curve_is_silent_outside_of_a_notebook(capsys):
    plots.LiveLossCurve()(pd.DataFrame({"step": [1], "epoch": [1], "loss": [1.0]}), pd.Series([0.5], [1]))
    assert capsys.readouterr() == ("", "")
    assert not plt.get_fignums()


def test_the_live_curve_leaves_one_picture_in_a_notebook():
    growing = """
import pandas as pd
from reaffect.plots import LiveLossCurve
watch = LiveLossCurve()
for epoch in range(1, 4):
    steps = range(1, 2 * epoch + 1)
    history = pd.DataFrame({"step": steps, "epoch": [(k + 1) // 2 for k in steps], "loss": [1 / k for k in steps]})
    watch(history, pd.Series([0.1 * k for k in range(epoch)], range(1, epoch + 1)))
"""
    cells = [nbformat.v4.new_code_cell(growing), nbformat.v4.new_code_cell(growing.replace("range(1, 4)", "[3]"))]
    notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3").execute()
    pictures = [[output["data"]["image/png"] for output in cell.outputs] for cell in notebook.cells]
    assert [len(own) for own in pictures] == [1, 1]
    assert pictures[0] == pictures[1]  # the last state, and nothing of those before
