"""What tests read off rankings."""

from __future__ import annotations

from xai_fast import InteractionRanking


def effects_of(ranking: InteractionRanking) -> dict[tuple[int, ...], float]:
    """Effect of each interaction, the strongest first."""
    return {found.indices: found.effect for found in ranking}
