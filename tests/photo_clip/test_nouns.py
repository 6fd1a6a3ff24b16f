"""ImageNet's nouns, and which of their names are held out."""

from stseg.photo_clip.nouns import classes_of_names, held_out_names, load_nouns, without


def test_the_classes_are_in_the_order_of_networks_with_all_their_names():
    nouns = load_nouns("imagenet-1k")
    assert len(nouns) == 1000
    assert nouns[0].names == ("tench", "Tinca tinca")
    assert nouns[285].names == ("Egyptian cat",)
    assert nouns[285].gloss.startswith("a domestic cat of Egypt")
    assert len(load_nouns("imagenet-22k")) == 21841


def test_a_name_of_two_classes_has_both():
    right = classes_of_names()
    assert right["crane"] == (134, 517)
    assert list(right) == sorted(right)


def test_a_fifth_is_held_out_by_seed():
    out = held_out_names(0.2, 0)
    assert len(out) == round(0.2 * len(classes_of_names()))
    assert out == held_out_names(0.2, 0)
    assert out != held_out_names(0.2, 1)
    assert held_out_names(0.0, 0) == frozenset()


def test_what_is_held_out_is_gone_from_all_nouns_whatever_their_case():
    out = frozenset({"tench", "tinca tinca", "crane"})
    left = without(load_nouns("imagenet-1k"), out)
    assert left[0].names == ()
    assert left[0].gloss
    assert not any(name.lower() in out for noun in left for name in noun.names)
    assert not any(
        name.lower() in out
        for noun in without(load_nouns("imagenet-22k"), out)
        for name in noun.names
    )
