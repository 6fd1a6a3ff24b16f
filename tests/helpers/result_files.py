"""Result files of runs that never took place."""

from stseg.evaluation.results import Protocol, Result, write_results


def write_figures(path, data_set, figures):
    """Write a file of one data set.

    Args:
        path: of the file.
        data_set: its name.
        figures: in percent, by their names in evaluation tables; IoU and ACC of the class sky.
    """
    protocol = Protocol(1, "", "", 1, "", (255,), data_set=data_set)
    fractions = {k.replace(" ", "_"): v / 100 for k, v in figures.items()}
    fractions["mIoU_gt"] = fractions.pop("mIoU")
    of_class = [fractions.pop(f"{kind}-sky", 1.0) for kind in ("IoU", "ACC")]
    row = {"id": 0, "name": "sky", "iou": of_class[0], "accuracy": of_class[1]}
    write_results(path, {data_set: Result(protocol, fractions, {}, [row])})
