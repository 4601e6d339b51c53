"""What goes into a bundle comes out again, bit for bit, as files that ordinary tools can read."""

import json
import shutil
import subprocess
import zipfile
from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image

from dcpi_core.bundle import Identity, load, stored_bytes, write, write_zip
from dcpi_core.bundle.tensors import from_tensors, to_tensors
from dcpi_core.condensed import CondensedSet
from dcpi_core.spec.errors import BundleError
from dcpi_core.spec.manifest import parse_manifest
from dcpi_core.spec.report import Cost, LabelStatistics


def same(left: CondensedSet, right: CondensedSet) -> bool:
    mine, settings = to_tensors(left)
    other, other_settings = to_tensors(right)
    assert settings == other_settings
    assert mine.keys() == other.keys()
    return all(torch.equal(mine[name], other[name]) for name in mine)


class TestTensors:
    def test_there_and_back(self, condensed):
        tensors, settings = to_tensors(condensed)
        assert set(tensors) == {"images", "labels", "feature.values", "soft.probabilities"}
        assert json.loads(json.dumps(settings)) == settings
        assert same(from_tensors(tensors, settings), condensed)

    def test_source_indices_survive(self, condensed):
        selected = replace(condensed, source_indices=torch.arange(12))
        back = from_tensors(*to_tensors(selected))
        assert torch.equal(back.source_indices, torch.arange(12))

    def test_weights_survive_and_are_counted(self, condensed):
        weighted = replace(condensed.with_privileged(), weights=torch.arange(12.0))
        assert torch.equal(from_tensors(*to_tensors(weighted)).weights, torch.arange(12.0))
        assert stored_bytes(weighted).labels == 12 * (8 + 4)

    def test_a_missing_tensor_is_named(self, condensed):
        tensors, settings = to_tensors(condensed)
        del tensors["feature.values"]
        with pytest.raises(BundleError, match=r"feature\.values"):
            from_tensors(tensors, settings)

    def test_an_unknown_kind_is_named(self, condensed):
        tensors, settings = to_tensors(condensed)
        settings["privileged"][0]["kind"] = "telepathy"
        with pytest.raises(BundleError, match="telepathy"):
            from_tensors(tensors, settings)

    def test_bytes_are_those_stored(self, condensed):
        found = stored_bytes(condensed)
        assert found.images == 12 * 3 * 16 * 16 * 4
        assert found.labels == 12 * 8
        assert found.privileged == {"feature": 12 * 128 * 16 * 4, "soft": 12 * 4 * 4}


class TestBundle:
    def test_directory(self, bundle_dir, condensed, report, spec):
        found = load(bundle_dir)
        assert same(found.condensed, condensed)
        assert found.report == report
        assert found.spec == spec

    def test_zip(self, bundle_dir, condensed, tmp_path):
        found = load(write_zip(bundle_dir, tmp_path / "bundle.zip"))
        assert same(found.condensed, condensed)

    def test_zip_with_a_folder_inside(self, bundle_dir, condensed, tmp_path):
        shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, bundle_dir.name)
        assert same(load(tmp_path / "packed.zip").condensed, condensed)

    def test_same_content_same_bytes(self, tmp_path, condensed, spec, report):
        for name in ("one", "two"):
            write(tmp_path / name, condensed, spec, report)
            write_zip(tmp_path / name, tmp_path / f"{name}.zip")
        assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()

    def test_writing_again_replaces(self, bundle_dir, condensed, spec, report):
        write(bundle_dir, condensed.with_privileged(), spec, report)
        assert load(bundle_dir).condensed.privileged == ()

    def test_identity(self, tmp_path, condensed, spec, report):
        given = Identity(name="mine", created_at="2026-11-21T00:00:00Z")
        write(tmp_path, condensed, spec, report, given)
        manifest = load(tmp_path).manifest
        assert (manifest.name, manifest.created_at) == ("mine", "2026-11-21T00:00:00Z")

    def test_sha256sum_agrees(self, bundle_dir):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=bundle_dir, check=True)

    def test_zip_members_are_stored_with_a_fixed_date(self, bundle_dir, tmp_path):
        with zipfile.ZipFile(write_zip(bundle_dir, tmp_path / "b.zip")) as archive:
            for info in archive.infolist():
                assert info.compress_type == zipfile.ZIP_STORED
                assert info.date_time == (1980, 1, 1, 0, 0, 0)

    def test_nothing_is_a_pickle(self, bundle_dir):
        suffixes = {path.suffix for path in bundle_dir.rglob("*") if path.is_file()}
        assert suffixes == {".json", ".safetensors", ".md", ".py", ".png", ""}


class TestManifest:
    def test_blocks(self, bundle_dir, spec):
        manifest = load(bundle_dir).manifest
        assert manifest.format == "dcpi-condensed/1"
        assert manifest.name == "toys-dc-feature-soft-3ipc"
        assert manifest.task.classes == spec.dataset.classes
        assert manifest.images.per_class == (3, 3, 3, 3)
        assert manifest.images.learned
        assert manifest.labels.soft == "soft"
        assert manifest.recipe.passes == 7
        assert manifest.recipe.reported == (0.302, 0.297, 0.309)
        assert manifest.spec_sha256 == spec.digest()

    def test_selected_images_are_not_called_learned(self, tmp_path, condensed, spec, report):
        selected = replace(condensed, source_indices=torch.arange(12))
        images = write(tmp_path, selected, spec, report).images
        assert not images.learned
        assert images.source_indices.shape == (12,)

    def test_unknown_fields_are_ignored(self, bundle_dir):
        data = json.loads((bundle_dir / "manifest.json").read_text())
        data["format"] = "dcpi-condensed/1.3"
        data["novelty"] = {"a": 1}
        data["source"]["license"]["novelty"] = True
        assert parse_manifest(json.dumps(data)).name == "toys-dc-feature-soft-3ipc"

    @pytest.mark.parametrize("declared", ["dcpi-condensed/2", "dcpi-condensed/10", "other/1", None])
    def test_unknown_major_versions_are_refused(self, bundle_dir, declared):
        data = json.loads((bundle_dir / "manifest.json").read_text()) | {"format": declared}
        with pytest.raises(BundleError, match="format"):
            parse_manifest(json.dumps(data))


class TestForReaders:
    def test_front_matter_is_yaml(self, bundle_dir):
        _, front, body = (bundle_dir / "README.md").read_text().split("---\n", 2)
        fields = yaml.safe_load(front)
        assert fields["license_name"] == "CC0"
        assert fields["size_categories"] == ["n<1K"]
        assert "27.60" in body
        assert "+2.23" in body

    def test_the_card_shows_what_was_measured(self, tmp_path, condensed, spec, report):
        arms = [
            arm.model_copy(
                update={"calibration_errors": (0.1, 0.2, 0.3), "per_class": (0.4, 0.2, 0.1, 0.5)}
            )
            for arm in report.arms
        ]
        labels = LabelStatistics(
            kind="feature",
            stage="shipped",
            transfer=0.75,
            real_transfer=0.5,
            fisher_ratio=None,
            effective_rank=6.25,
            real_effective_rank=7.5,
            largest_rank=11,
            within_class_distance=0.875,
            drift=0.0625,
            verdict="balanced",
        )
        cost = Cost(
            device_seconds={},
            peak_memory_bytes=3 << 20,
            peak_device_memory_bytes=None,
            full_epoch_seconds=0.5,
            full_epochs=12.5,
        )
        whole = report.model_copy(
            update={"arms": tuple(arms), "label_statistics": (labels,), "cost": cost}
        )
        write(tmp_path, condensed, spec, whole)
        lines = (tmp_path / "README.md").read_text().splitlines()
        assert "| dc alone | ConvNetD2 | bird \\| \\[x\\](y) | 10.0 | 20.0 |" in lines
        row = "| feature, shipped | 75.0 | 50.0 | - | 6.2 | 7.5 | 0.875 | 0.0625 | balanced |"
        assert row in lines
        (cost_line,) = [line for line in lines if "Peak memory" in line]
        assert "3 MiB" in cost_line
        assert "as long as 12.5 epochs" in cost_line
        assert "base 1.5" in cost_line

    def test_names_cannot_break_the_card(self, bundle_dir, tmp_path, condensed, spec, report):
        hostile = "a\n---\n# <script>|"
        facts = spec.dataset.model_copy(update={"title": hostile})
        write(tmp_path, condensed, spec.model_copy(update={"dataset": facts}), report)
        text = (tmp_path / "README.md").read_text()
        assert "<script>" not in text.replace("\\<script", "")
        assert "\n# \\<" not in text

    @pytest.mark.parametrize("fingerprint", ["", "0" * 64])
    @pytest.mark.parametrize(
        ("named", "how"),
        [
            ({"name": "cifar10", "title": "CIFAR-10"}, 'load("cifar10").test'),
            ({"name": "cifar10"}, 'load_prepared("the prepared archive").test'),
            ({}, 'load_prepared("the prepared archive").test'),
        ],
        ids=["published", "namesake", "upload"],
    )
    def test_the_card_says_how_to_get_the_test_images(
        self, tmp_path, condensed, spec, report, named, how, fingerprint
    ):
        facts = spec.dataset.model_copy(update=named | {"fingerprint": fingerprint})
        write(tmp_path, condensed, spec.model_copy(update={"dataset": facts}), report)
        text = (tmp_path / "README.md").read_text()
        assert f"print(bundle.evaluate(network, {how}))" in text

    def test_the_card_of_own_images_says_what_their_owner_does(
        self, tmp_path, condensed, spec, report
    ):
        write(tmp_path, condensed, spec, report)
        text = (tmp_path / "README.md").read_text()
        options = "--archive FILE --image-size 16"
        assert f"`dcpi test-data {options} --out test.npz`" in text
        assert f"`dcpi condense spec.json {options} --out DIR` makes it again from" in text
        assert "`images`, uint8 (n, 3, 16, 16), and `labels`" in text
        inspect = "inspect FILE --name toys --image-size 16 --seed SEED --out toys.safetensors`"
        assert inspect in text

    def test_the_card_of_a_published_dataset_names_it(self, tmp_path, condensed, spec, report):
        facts = spec.dataset.model_copy(update={"name": "cifar10", "title": "CIFAR-10"})
        write(tmp_path, condensed, spec.model_copy(update={"dataset": facts}), report)
        text = (tmp_path / "README.md").read_text()
        assert "`dcpi test-data cifar10 --out test.npz`" in text
        assert "`dcpi condense spec.json --out DIR` makes it again\n" in text
        assert "--archive" not in text

    def test_grid_shows_every_pixel_enlarged(self, bundle_dir, condensed, facts):
        from dcpi_core.bundle.previews import to_pixels

        grid = Image.open(bundle_dir / "previews/grid.png").convert("RGB")
        pixels = to_pixels(condensed.images[:1], facts)[0]
        found = [
            (x, y)
            for x in range(200)
            for y in range(40, 100)
            if grid.getpixel((x, y)) == tuple(pixels[0, 0])
            and grid.getpixel((x + 60, y + 60)) == tuple(pixels[15, 15])
        ]
        # 16 pixels are enlarged four times, so the first pixel covers 4 x 4.
        assert len(found) == 16

    def test_values_outside_the_range_are_clamped(self, facts):
        from dcpi_core.bundle.previews import to_pixels

        extreme = torch.tensor([-100.0, 100.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
        assert to_pixels(extreme, facts).reshape(2, -1).tolist() == [[0] * 768, [255] * 768]

    def test_accuracy_chart_is_a_picture(self, bundle_dir):
        chart = Image.open(bundle_dir / "previews/accuracy.png")
        assert chart.width == 800
        assert len(chart.convert("RGB").getcolors(1 << 16)) > 20

    def test_the_card_shows_every_picture(self, bundle_dir):
        card = (bundle_dir / "README.md").read_text()
        for picture in (bundle_dir / "previews").iterdir():
            assert f"](previews/{picture.name})" in card
        assert card.index("## Accuracy") < card.index("previews/accuracy.png")
