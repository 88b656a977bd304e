"""Write runs for TensorBoard: while they train (`listener`), or from an existing recording (`export`).

Both write the same tags. TensorBoard sorts them by name, so the losses come first:

- every iteration: `loss/total`, `loss/smoothed`, `loss/<head>`; `norm_log10/weight|gradient|update|update_to_weight`
  (over all param blobs); `output/<name>` (other outputs of one value); `solver/lr`, `solver/seconds`
- at displayed iterations and in windows: `norm_log10_of_blobs/weight|gradient|update/<layer>/<index>`
- in windows: histograms `weight|gradient|update/<layer>/<index>` of the finite elements
- at a test pass: `test/<net>/<output>`
- alarms, the onset and the outcome are texts
- an export also has the records of the onset's batch as images, `batch/<rank> <key>`, the outliers first

A norm that is 0 has no logarithm and is left out.
"""
