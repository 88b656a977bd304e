"""Lists of class names beside the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.training_data.class_names import find_class_names, parse_class_names

PETS = {0: "cat", 1: "big dog", 2: "eel"}


@pytest.mark.parametrize(
    "text",
    [
        "cat\nbig dog\neel\n",
        "cat\r\nbig dog\r\neel",
        "\ufeffcat\nbig dog\neel\n\n",
        "0 cat\n1 big dog\n2 eel\n",
        "2: eel\n0: cat\n1: big dog\n",
        "0,cat\n1,big dog\n2,eel\n",
        "cat 0\nbig dog 1\neel 2\n",
        "eel\t2\ncat\t0\nbig dog\t1\n",
        "n01440764 cat\nn01443537 big dog\nn01484850 eel\n",
        "0 n01440764 cat\n1 n01443537 big dog\n2 n01484850 eel\n",
    ],
)
def test_names_are_read_in_all_usual_forms(text: str) -> None:
    assert parse_class_names(text) == PETS


def test_names_that_look_like_labels_stay_names() -> None:
    assert parse_class_names("7 up\ncoke\n") == {0: "7 up", 1: "coke"}
    assert parse_class_names("n01440764\nn01443537\n") == {0: "n01440764", 1: "n01443537"}  # ImageNet's synsets.txt
    assert parse_class_names("n01440764 tench, Tinca tinca\n") == {0: "tench, Tinca tinca"}
    assert parse_class_names("猫\n犬\n") == {0: "猫", 1: "犬"}
    number = "1" * 5000  # more digits than Python converts
    assert parse_class_names(f"{number} cat\n") == {0: f"{number} cat"}
    assert parse_class_names("a\n\nc\n") == {0: "a", 2: "c"}  # the name of class 1 is not given


@pytest.mark.parametrize("text", ["", "\n\n", "1\n0\n4\n", "-1\n1\n"])
def test_a_list_of_numbers_has_no_names(text: str) -> None:
    assert parse_class_names(text) is None


def test_names_are_found_beside_the_data_and_above(tmp_path: Path) -> None:
    source = tmp_path / "data/train_lmdb"
    source.mkdir(parents=True)
    assert find_class_names(source, 3) is None
    (tmp_path / "data/classes.txt").write_text("cat\nbig dog\neel\n")
    found = find_class_names(source, 3)
    assert found is not None
    assert (found.file, found[1], found[7]) == (tmp_path / "data/classes.txt", "big dog", None)
    (source / "labels.txt").write_text("cow\nhen\nsow\n")  # nearer
    nearer = find_class_names(source, 3)
    assert nearer is not None
    assert nearer[0] == "cow"
    listed = find_class_names(source.parent / "train.txt", 3)
    assert listed is not None
    assert listed[0] == "cat"


def test_a_list_of_another_number_of_names_is_not_taken(tmp_path: Path) -> None:
    """A directory may hold the list of another data set, or labels of images."""
    (tmp_path / "synset_words.txt").write_text("".join(f"n{number:08d} name{number}\n" for number in range(1000)))
    source = tmp_path / "train.txt"
    assert find_class_names(source, 280, 280) is None
    assert find_class_names(source, 998, 1000) is not None  # the last classes have no image here
    assert find_class_names(source, 1000) is not None


def test_what_is_no_list_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").mkdir()
    (tmp_path / "labels.txt").symlink_to("nowhere")
    (tmp_path / "synset_words.txt").write_bytes(b"caf\xe9\ntea\n")
    found = find_class_names(tmp_path / "list.txt", 2)
    assert found is not None
    assert found[0] == "caf\\xe9"
