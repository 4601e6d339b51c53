"""A bundle that was tampered with, torn or mixed up is refused, and the message says where."""

import hashlib
import json
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from dcpi_core.bundle import load, verify, write_zip
from dcpi_core.spec.errors import BundleError


def sign_again(directory, manifest=None):
    """Make digests agree after an edit, so that only the later checks can object."""
    path = directory / "manifest.json"
    manifest = manifest or json.loads(path.read_text())
    for entry in manifest["files"]:
        data = (directory / entry["path"]).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))
    names = ["manifest.json", *(entry["path"] for entry in manifest["files"])]
    rows = [f"{hashlib.sha256((directory / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (directory / "SHA256SUMS").write_text("".join(rows))


def edit_tensors(directory, change):
    path = directory / "data.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    sign_again(directory)


def edit_manifest(directory, change):
    manifest = json.loads((directory / "manifest.json").read_text())
    change(manifest)
    sign_again(directory, manifest)


def refused(directory, word):
    with pytest.raises(BundleError, match=word):
        load(directory)
    assert not all(check.passed for check in verify(directory))


def test_an_intact_bundle_passes_every_check(bundle_dir):
    checks = verify(bundle_dir)
    assert len(checks) >= 12
    assert all(check.passed for check in checks), checks


def test_signing_again_without_an_edit_passes(bundle_dir):
    sign_again(bundle_dir)
    assert all(check.passed for check in verify(bundle_dir))


@pytest.mark.parametrize(
    "name",
    ["data.safetensors", "report.json", "spec.json", "README.md", "train.py", "previews/grid.png"],
)
def test_one_flipped_bit_is_found(bundle_dir, name):
    data = bytearray((bundle_dir / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_dir / name).write_bytes(data)
    refused(bundle_dir, name)
    assert next(check.name for check in verify(bundle_dir) if not check.passed) == name


@pytest.mark.parametrize("name", ["manifest.json", "data.safetensors", "SHA256SUMS", "train.py"])
def test_a_missing_file_is_named(bundle_dir, name):
    (bundle_dir / name).unlink()
    refused(bundle_dir, name)


def test_a_longer_file_is_refused_unread(bundle_dir):
    with (bundle_dir / "data.safetensors").open("ab") as stream:
        stream.write(b"more")
    refused(bundle_dir, "data.safetensors")


def test_a_manifest_edited_by_hand_is_noticed(bundle_dir):
    path = bundle_dir / "manifest.json"
    path.write_text(path.read_text().replace("CC0", "MIT"))
    refused(bundle_dir, "SHA256SUMS")


def test_not_a_number(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t["feature.values"].view(-1)[7:8].fill_(float("nan")))
    refused(bundle_dir, "feature.values")


def test_labels_out_of_range(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t["labels"][:1].fill_(4))
    refused(bundle_dir, "labels")


def test_labels_in_other_numbers(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t["labels"][:1].fill_(3))
    refused(bundle_dir, "per_class")


def test_another_shape(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t.update(images=t["images"][:, :, :8].contiguous()))
    refused(bundle_dir, "images")


def test_another_type(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t.update(labels=t["labels"].to(torch.int32)))
    refused(bundle_dir, "labels")


def test_a_tensor_that_is_not_there(bundle_dir):
    edit_tensors(bundle_dir, lambda t: t.pop("soft.probabilities"))
    refused(bundle_dir, "soft.probabilities")


def test_not_safetensors(bundle_dir):
    (bundle_dir / "data.safetensors").write_bytes(b"\x80\x04K\x01.")
    sign_again(bundle_dir)
    refused(bundle_dir, "safetensors")


def test_swapped_classes(bundle_dir):
    edit_manifest(bundle_dir, lambda m: m["task"]["classes"].reverse())
    refused(bundle_dir, "order")


def test_swapped_classes_with_a_fresh_digest(bundle_dir):
    from dcpi_core.spec.manifest import class_order_digest

    def change(manifest):
        manifest["task"]["classes"].reverse()
        digest = class_order_digest(manifest["task"]["classes"])
        manifest["task"]["class_order_sha256"] = digest

    edit_manifest(bundle_dir, change)
    refused(bundle_dir, "classes")


def test_another_spec(bundle_dir):
    path = bundle_dir / "spec.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    sign_again(bundle_dir)
    refused(bundle_dir, "spec.json")


def test_a_report_of_another_kind(bundle_dir):
    (bundle_dir / "report.json").write_text("{}")
    sign_again(bundle_dir)
    refused(bundle_dir, "report.json")


def test_settings_that_are_missing(bundle_dir):
    edit_manifest(bundle_dir, lambda m: m["privileged"][0].update(settings={}))
    with pytest.raises(BundleError, match="restored"):
        load(bundle_dir)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "c:x", "", "."])
def test_paths_that_lead_out_are_refused(bundle_dir, path):
    (bundle_dir.parent / "secret").write_text("secret")
    manifest = json.loads((bundle_dir / "manifest.json").read_text())
    manifest["files"][0]["path"] = path
    (bundle_dir / "manifest.json").write_text(json.dumps(manifest))
    refused(bundle_dir, "plain relative path")


def test_a_link_that_leads_out_is_refused(bundle_dir):
    outside = bundle_dir.parent / "README.md"
    (bundle_dir / "README.md").rename(outside)
    (bundle_dir / "README.md").symlink_to(outside)
    refused(bundle_dir, "leads out")


def test_a_member_that_expands_is_not_expanded(bundle_dir, tmp_path):
    target = write_zip(bundle_dir, tmp_path / "b.zip")
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(target) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            grown = info.filename == "README.md"
            new.writestr(info.filename, bytes(50_000_000) if grown else old.read(info))
    refused(bomb, "README.md has 50000000 bytes")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_to_compressed_bytes_is_told(bundle_dir, tmp_path, method):
    packed, name = tmp_path / "packed.zip", "bundle/report.json"
    with zipfile.ZipFile(packed, "w", method) as archive:
        for path in bundle_dir.rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path))
        archive.write(bundle_dir / "SHA256SUMS", "bundle/SHA256SUMS")
        info = archive.getinfo(name)
    assert all(check.passed for check in verify(packed))
    first = info.header_offset + 30 + len(name) + 9  # after what tells how LZMA was done
    for place in range(first, first + info.compress_size - 9, info.compress_size // 20):
        data = bytearray(packed.read_bytes())
        data[place] ^= 0x55
        damaged = tmp_path / "damaged.zip"
        damaged.write_bytes(data)
        refused(damaged, "report.json")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [(8, 1, "encrypted"), (10, 97, "compression method"), (6, 99, "neither"), (46, 255, "neither")],
)
def test_a_directory_of_a_zip_with_odd_entries_is_told(bundle_dir, tmp_path, field, value, word):
    data = bytearray(write_zip(bundle_dir, tmp_path / "b.zip").read_bytes())
    entry = data.index(b"PK\1\2")  # of the manifest: it goes first
    data[entry + field] = value
    if field == 46:  # its name, which a flag says is UTF-8
        data[entry + 9] |= 8
    (tmp_path / "b.zip").write_bytes(data)
    refused(tmp_path / "b.zip", word)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_other_files_are_no_bundle(tmp_path, content):
    path = tmp_path / "file.zip"
    path.write_bytes(content)
    refused(path, "bundle|manifest")


def test_nothing_there(tmp_path):
    refused(tmp_path / "nowhere", "no bundle")


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{", '{"format": "dcpi-condensed/1"}'])
def test_a_manifest_that_is_none(bundle_dir, text):
    (bundle_dir / "manifest.json").write_text(text)
    refused(bundle_dir, "manifest.json")
