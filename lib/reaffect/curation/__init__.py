"""How Omni-Emotion's data sets are made: clips described three times, judged, selected, reviewed (Sections 3 to 3.2).

`pipeline` describes clips (`scenes`, `tracklets` and `people`, `hearing`), `consistency` has a judge annotate them,
`selection` makes SRE and draws for HRE, `checking` compares with what was planted; `review` is for people. Nothing is
imported here: the page for reviewers starts without the models.
"""
