import pytest
from pydantic import ValidationError

from dcpi_core.spec.catalog import load_catalog
from dcpi_core.spec.errors import InvalidInput, UnknownName
from dcpi_core.spec.job import JobRequest, JobSpec
from dcpi_core.spec.resolve import default_network, resolve

FOUR_WORDS = {
    "dataset": "cifar10",
    "fraction": "0.2%",
    "base_method": "dc",
    "pi_type": "feature",
}


def resolved(**changes):
    catalog = load_catalog()
    request = JobRequest.model_validate(FOUR_WORDS | changes)
    return resolve(request, catalog.datasets["cifar10"], catalog)


def pointers(error: InvalidInput) -> list[str]:
    return [problem.pointer for problem in error.problems]


def test_four_words_leave_nothing_open():
    spec = resolved()
    assert (spec.images_per_class, spec.num_images, spec.network) == (10, 100, "ConvNetD3")
    assert spec.base_method.options["outer_loops"] == 10  # published loops for ten per class
    assert spec.base_method.options["inner_epochs"] == 50
    assert spec.privileged[0].options["regression_weight"] == 10.0
    assert spec.evaluation.networks == ("ConvNetD3",)


def test_the_catalogue_knows_published_datasets_by_name():
    assert resolve(JobRequest.model_validate(FOUR_WORDS)) == resolved()
    with pytest.raises(UnknownName, match="unknown dataset 'cifar11'; available: cifar10, "):
        resolve(JobRequest.model_validate(FOUR_WORDS | {"dataset": "cifar11"}))


@pytest.mark.parametrize(
    ("images", "loops"),
    [(1, (1, 1)), (5, (5, 10)), (10, (10, 50)), (15, (10, 50)), (20, (20, 25)), (60, (50, 10))],
)
def test_published_loops_follow_the_budget(images, loops):
    spec = resolved(fraction=None, images_per_class=images)
    options = spec.base_method.options
    assert (options["outer_loops"], options["inner_epochs"]) == loops


@pytest.mark.parametrize("images", [1, 10, 50])
@pytest.mark.parametrize("method", ["dc", "herding", "dm", "idm", "ncfm"])
def test_an_upload_has_the_published_settings_of_cifar_10(method, images):
    """An upload may well be CIFAR-10 under another name."""
    labels = (
        {"feature": {"preset": "published"}} if method in ("dc", "herding") else {"feature": {}}
    )
    changes = {"base_method": method, "fraction": None, "images_per_class": images}
    request = FOUR_WORDS | changes | {"options": {"pi": labels}}
    facts = load_catalog().datasets["cifar10"]
    known, own = (
        resolve(JobRequest.model_validate(request | {"dataset": name}), named)
        for name in ("cifar10", "mine")
        for named in [facts.model_copy(update={"name": name})]
    )
    assert own.base_method == known.base_method
    assert own.privileged == known.privileged


COMPONENTS = [*load_catalog().methods.values(), *load_catalog().privileged_types.values()]


@pytest.mark.parametrize("entry", COMPONENTS, ids=lambda entry: entry.name)
def test_what_the_catalogue_fills_in_is_within_its_own_limits(entry):
    """Each limit is one field's, so what holds of every preset holds of all of them together."""
    assert set(entry.options_schema) <= {
        *("type", "title", "description", "properties", "additionalProperties")
    }
    for preset in (None, *entry.presets):
        filled = entry.option_defaults() | (preset.options if preset else {})
        entry.check_options(filled, "")


def test_our_presets_follow_the_budget():
    def options(preset, count):
        asked = {"images_per_class": count, "fraction": None}
        found = resolved(
            pi_type="feature", options={"pi": {"feature": {"preset": preset}}}, **asked
        )
        return found.privileged[0].options

    few, more = options("measured", 1), options("measured", 10)
    assert few["learning"] == more["learning"] == "assigned"
    assert few["regression_weight"] > more["regression_weight"] > 10
    for count, measured in ((1, few), (10, more)):
        learned = options("unrolled", count)
        differ = {name for name, value in learned.items() if value != measured[name]}
        assert {name for name in differ if not name.startswith("unrolled_")} == {"learning"}
        assert learned["learning"] == "unrolled"


def test_the_user_wins_over_presets_and_presets_over_defaults():
    options = {"base": {"outer_loops": 3}, "pi": {"feature": {"preset": "published"}}}
    spec = resolved(options=options)
    assert spec.base_method.options["outer_loops"] == 3
    assert spec.base_method.options["inner_epochs"] == 50
    label_options = spec.privileged[0].options
    assert label_options["learning"] == "gradient_matching"
    assert label_options["regression_weight"] == 0.5  # Table 8, CIFAR-10 at ten per class
    assert "preset" not in label_options


def test_same_request_same_digest_and_any_change_another():
    assert resolved().digest() == resolved().digest()
    assert resolved(fraction=0.002).digest() == resolved().digest()
    assert resolved(seed=1).digest() != resolved().digest()


def test_none_attaches_nothing():
    assert resolved(pi_type="none").privileged == ()


@pytest.mark.parametrize(
    ("changes", "error", "pointer"),
    [
        ({"base_method": "dcc0"}, UnknownName, "/base_method"),
        ({"pi_type": "featur"}, UnknownName, "/pi_type"),
        ({"pi_type": ["feature", "none"]}, InvalidInput, "/pi_type"),
        ({"pi_type": ["soft", "soft"]}, InvalidInput, "/pi_type"),
        ({"pi_type": []}, InvalidInput, "/pi_type"),
        ({"options": {"network": "ConvNetD33"}}, UnknownName, "/options/network"),
        (
            {"options": {"evaluation": {"networks": ["X"]}}},
            UnknownName,
            "/options/evaluation/networks/0",
        ),
        ({"options": {"base": {"iteratons": 5}}}, InvalidInput, "/options/base"),
        ({"options": {"base": {"iterations": 0}}}, InvalidInput, "/options/base/iterations"),
        ({"options": {"pi": {"soft": {}}}}, InvalidInput, "/options/pi/soft"),
        (
            {"options": {"pi": {"feature": {"preset": "best"}}}},
            InvalidInput,
            "/options/pi/feature/preset",
        ),
        ({"images_per_class": 10}, InvalidInput, "/fraction"),
        ({"fraction": None}, InvalidInput, "/fraction"),
    ],
)
def test_bad_requests_name_the_field(changes, error, pointer):
    with pytest.raises(error) as caught:
        resolved(**changes)
    assert pointer in pointers(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"network": "ConvNetD1"}, {"evaluation": {"networks": ["ConvNetD3", "ConvNetD1"]}}],
    ids=["network", "student"],
)
@pytest.mark.parametrize("pi_type", ["feature", "attention_channel"])
def test_labels_of_a_block_that_a_network_lacks(options, pi_type):
    pi = {pi_type: {"layer": "second"}}
    with pytest.raises(InvalidInput, match=r"ConvNetD1 has no second block.*: final, first") as e:
        resolved(pi_type=pi_type, options=options | {"pi": pi})
    assert pointers(e.value) == [f"/options/pi/{pi_type}/layer"]
    for layer in ("first", "final"):
        resolved(pi_type=pi_type, options=options | {"pi": {pi_type: {"layer": layer}}})


def test_a_misspelt_option_lists_the_allowed_ones():
    with pytest.raises(InvalidInput, match=r"allowed options: .*iterations"):
        resolved(options={"base": {"iteratons": 5}})


def test_a_network_too_deep_for_the_images_is_refused_before_any_work():
    catalog = load_catalog()
    request = JobRequest.model_validate(
        FOUR_WORDS | {"fraction": "1%", "options": {"network": "VGG11"}}
    )
    with pytest.raises(InvalidInput, match="at least 32 x 32"):
        resolve(request, catalog.datasets["digits"], catalog)


def test_only_one_type_may_tune_the_images_and_it_goes_first():
    tuning = {"learning": "gradient_matching", "schedule": "alternating"}
    types = ("attention_channel", "feature", "soft")
    spec = resolved(pi_type=types, options={"pi": {"feature": tuning}})
    assert [c.name for c in spec.privileged] == ["feature", "attention_channel", "soft"]
    both = {"feature": tuning, "attention_channel": tuning}
    with pytest.raises(InvalidInput, match="cannot both tune") as error:
        resolved(pi_type=types, options={"pi": both})
    assert pointers(error.value)[0].endswith("/schedule")


def test_labels_are_not_learned_for_a_free_choice_of_images():
    """They are learned class against class, from as many images of each."""
    free = {"base_method": "herding", "pi_type": "feature"}
    learned = {"feature": {"learning": "gradient_matching"}}
    with pytest.raises(InvalidInput, match="learning of feature to 'assigned'") as error:
        resolved(**free, options={"base": {"balance": "free"}, "pi": learned})
    assert pointers(error.value) == ["/options/base/balance"]
    assigned = {"feature": {"learning": "assigned"}}
    spec = resolved(**free, options={"base": {"balance": "free"}, "pi": assigned})
    assert spec.base_method.options["balance"] == "free"
    resolved(**free, options={"base": {"balance": "class"}, "pi": learned})


def test_an_alias_is_another_spelling_of_the_same_job():
    spec = resolved(base_method="graig", pi_type="none")
    assert spec.base_method.name == "craig"
    assert spec.digest() == resolved(base_method="craig", pi_type="none").digest()


def test_weights_are_of_hard_labels_alone():
    weighted = {"base_method": "craig", "options": {"base": {"weighted": True}}}
    with pytest.raises(InvalidInput, match="pi_type 'none'") as error:
        resolved(**weighted, pi_type="soft")
    assert pointers(error.value) == ["/options/base/weighted"]
    assert resolved(**weighted, pi_type="none").base_method.options["weighted"] is True


@pytest.mark.parametrize("field", ["fractoin", "options.baze", "options.evaluation.epoch"])
def test_misspelt_fields_are_refused(field):
    body: dict = {}
    inner = body
    *path, last = field.split(".")
    for part in path:
        inner = inner.setdefault(part, {})
    inner[last] = 1
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        JobRequest.model_validate(FOUR_WORDS | body)


@pytest.mark.parametrize(
    ("side", "depth"), [(8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5), (224, 6)]
)
def test_default_network_has_the_depth_of_the_literature(side, depth):
    facts = load_catalog().datasets["cifar10"].model_copy(update={"height": side, "width": side})
    assert default_network(facts) == f"ConvNetD{depth}"


def test_controls_are_named_once_and_in_one_order():
    assert resolved().evaluation.controls == ("equal_bytes",)
    names = ["noise", "equal_steps", "noise"]
    spec = resolved(options={"evaluation": {"controls": names}})
    assert spec.evaluation.controls == ("equal_steps", "noise")
    same = resolved(options={"evaluation": {"controls": ["equal_steps", "noise"]}})
    assert spec.digest() == same.digest()
    assert resolved(options={"evaluation": {"controls": []}}).evaluation.controls == ()


def test_an_unknown_control_is_refused():
    with pytest.raises(ValidationError, match="random_privileged"):
        resolved(options={"evaluation": {"controls": ["placebo"]}})


@pytest.mark.parametrize(
    ("protocol", "given", "epochs"),
    [("dc", None, 300), ("dc_flip_shift", None, 300), ("dsa", None, 1000), ("dsa", 7, 7)],
)
def test_epochs_are_those_of_the_protocol_unless_asked_for(protocol, given, epochs):
    wanted = {"protocol": protocol} | ({"epochs": given} if given else {})
    assert resolved(options={"evaluation": wanted}).evaluation.epochs == epochs


def test_labels_are_learned_for_tiles_but_tune_whole_images_alone():
    wanted = {"base_method": "idm", "pi_type": ["soft", "feature"]}
    learned = {"learning": "gradient_matching"}
    found = resolved(**wanted, options={"pi": {"feature": learned}})
    assert found.base_method.options["partition"] == 2
    tuning = {"pi": {"feature": learned | {"schedule": "alternating"}}}
    with pytest.raises(
        InvalidInput, match="the option partition of the base method to 1"
    ) as caught:
        resolved(**wanted, options=tuning)
    assert caught.value.problems[0].pointer == "/options/pi/feature/schedule"
    assert resolved(**wanted, options=tuning | {"base": {"partition": 1}}).privileged


@pytest.mark.parametrize("network", ["ConvNetD1", "ConvNetNP"])
def test_frequencies_are_not_learned_where_their_network_would_not_fit(network):
    wanted = {"base_method": "ncfm", "pi_type": "none"}
    with pytest.raises(InvalidInput, match="set sampling to 'normal', or take a deeper network"):
        resolved(**wanted, options={"network": network})
    normal = {"network": network, "base": {"sampling": "normal"}}
    assert resolved(**wanted, options=normal).network == network
    assert resolved(**wanted).base_method.options["sampling"] == "learned"


@pytest.mark.parametrize("learning", ["assigned", "distribution_matching", "unrolled"])
def test_learning_that_leaves_images_alone_cannot_tune_them(learning):
    asked = {"learning": learning, "schedule": "joint"}
    with pytest.raises(InvalidInput, match="leaves images alone") as caught:
        resolved(pi_type="feature", options={"pi": {"feature": asked}})
    assert pointers(caught.value) == ["/options/pi/feature/schedule"]
    alone = {"learning": learning}
    assert resolved(pi_type="feature", options={"pi": {"feature": alone}}).privileged


def test_what_nobody_asked_for_is_not_in_the_spec_and_its_digest():
    """Results are found again by the digest: a later default that entered it would lose them."""
    control = {"controls": ["full"]}
    plain = resolved(options={"evaluation": control})
    asked = resolved(options={"evaluation": control | {"full_epochs": 3}})
    assert "full_epochs" not in plain.model_dump(mode="json")["evaluation"]
    assert asked.model_dump(mode="json")["evaluation"]["full_epochs"] == 3
    assert asked.digest() != plain.digest()
    assert JobSpec.model_validate_json(asked.model_dump_json()) == asked


def test_one_job_asks_for_the_whole_cross_architecture_matrix():
    students = ("ConvNetD3", "LeNet", "MLP", "AlexNet", "VGG11", "ResNet18")
    spec = resolved(options={"evaluation": {"networks": students}})
    assert spec.evaluation.networks == students


def test_a_student_is_named_once():
    with pytest.raises(InvalidInput, match=r"named twice; .* set repeats") as caught:
        resolved(options={"evaluation": {"networks": ["LeNet", "MLP", "LeNet"]}})
    assert pointers(caught.value) == ["/options/evaluation/networks/2"]


def test_a_preset_without_settings_for_the_base_method_is_refused():
    published = {"pi": {"feature": {"preset": "published"}}}
    with pytest.raises(InvalidInput, match="it has some for: dc, forgetting, herding") as caught:
        resolved(base_method="dm", options=published)
    assert pointers(caught.value) == ["/options/pi/feature/preset"]
    assert resolved(base_method="herding", options=published).privileged


@pytest.mark.parametrize(
    ("part", "one", "other"),
    [
        ("pi", {"feature": {"regression_weight": 3}}, {"feature": {"regression_weight": 3.0}}),
        ("base", {"iterations": 3}, {"iterations": 3.0}),
    ],
)
def test_a_number_written_otherwise_is_the_same_job(part, one, other):
    first, second = resolved(options={part: one}), resolved(options={part: other})
    assert first.digest() == second.digest()
    assert first.model_dump_json() == second.model_dump_json()
