"""Forms of the loss against their formulas, and the budget's multipliers."""

import math

import pytest
import torch

from edgenas.core.errors import UsageError
from edgenas.oneshot.mixed.budget import Multipliers
from edgenas.oneshot.mixed.loss_settings import FORM_NAMES, LossSettings
from edgenas.oneshot.mixed.losses import FORMS, reward

ENTROPY, COST = 2.0, 0.25


def loss(form: str, name: str = "latency_ms", **settings: float) -> float:
    chosen = LossSettings(form=form, **settings)
    costs = {name: torch.tensor(COST, dtype=torch.float64)}
    found = FORMS[form](chosen, torch.tensor(ENTROPY, dtype=torch.float64), costs, {name: 0.2})
    return float(found)


def test_they_are_what_the_papers_say() -> None:
    assert set(FORMS) == set(FORM_NAMES)
    assert loss("none") == ENTROPY
    # FBNet's latency is in microseconds.
    assert loss("fbnet", alpha=0.2, beta=0.6) == pytest.approx(ENTROPY * 0.2 * math.log(250) ** 0.6)
    assert loss("sum", alpha=0.5) == pytest.approx(ENTROPY + 0.5 * COST)
    assert loss("proxylessnas_sum", alpha=0.1) == pytest.approx(ENTROPY + 0.1 * 0.05 / 0.2)
    ratio = math.log(250) / math.log(200)
    found = loss("proxylessnas_product", alpha=0.2, beta=0.3)
    assert found == pytest.approx(ENTROPY * 0.2 * ratio**0.3)


def test_other_costs_stay_in_their_unit() -> None:
    found = loss("fbnet", "latency_ms.phone", alpha=1.0, beta=1.0)
    assert found == pytest.approx(ENTROPY * math.log(250))
    found = loss("proxylessnas_product", "peak_activation_kib", alpha=1.0, beta=1.0)
    assert found == pytest.approx(ENTROPY * math.log(COST) / math.log(0.2))
    found = loss("fbnet", "peak_memory_mib", alpha=1.0, beta=1.0)
    assert found == pytest.approx(ENTROPY * math.log(256))


def test_a_reward_is_the_accuracy_times_a_power() -> None:
    settings = LossSettings(beta=0.1)
    assert reward(settings, 0.8, {"latency_ms": 0.4}, {"latency_ms": 0.2}) == pytest.approx(
        0.8 * 0.5**0.1
    )
    assert reward(settings, 0.8, {}, {}) == 0.8


@pytest.mark.parametrize("settings", [{"form": "product"}, {"alpha": -1.0}, {"beta": -1.0}])
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LossSettings(**settings)  # type: ignore[arg-type]


def test_multipliers_rise_over_a_budget_and_fall_under_it() -> None:
    budgets = {"a": 1.0, "b": 10.0}
    one = Multipliers(budgets, rate=0.1)

    def costs(a: float, b: float) -> dict[str, torch.Tensor]:
        return {
            "a": torch.tensor(a, dtype=torch.float64),
            "b": torch.tensor(b, dtype=torch.float64),
        }

    one.step(costs(2.0, 5.0))
    assert one.get_buffer("above").tolist() == pytest.approx([0.1, 0.0])
    assert float(one.get_buffer("below")) == 0
    one.step(costs(0.5, 5.0))
    assert one.get_buffer("above").tolist() == pytest.approx([0.05, 0.0])
    assert float(one.get_buffer("below")) == pytest.approx(0.1 * 0.48)
    assert float(one(costs(3.0, 5.0))) > float(one(costs(1.0, 5.0)))
    assert float(one(costs(0.2, 1.0))) > float(one(costs(0.98, 5.0)))
