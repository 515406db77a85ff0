"""Everything that a fault simulation is made of: the ledger, the network, the hospitals and liars, and who watches.

It stands still; `faults_world` sets it in motion.
"""

from __future__ import annotations

from collections.abc import Callable

from medfed.crypto import SiteKeys
from medfed.homomorphic import PARAMETERS, Cipher, NativeCipher, WorkerCipher
from medfed.identifiers import Name
from medfed.ledger.contracts.membership import Role
from medfed.ledger.contracts.studies import Study, study_record
from medfed.ledger.engine import StateView
from medfed.ledger.engines.memory import MemoryEngine
from medfed.ledger.transition import Receipt
from medfed.simulation.clock import ManualClock
from medfed.simulation.consortium import ORGANISER, make_consortium, seeded_site_entropy
from medfed.simulation.faults import OFFICES, Cast, generator
from medfed.simulation.faults_blobs import BlobFaults
from medfed.simulation.faults_cast import honest_site, liar
from medfed.simulation.faults_ledger import History, Network
from medfed.simulation.faults_study import STUDY, fault_plan
from medfed.simulation.witness import InvariantBroken, Witness
from medfed.simulation.witness_unmasked import UnmaskedWitness
from medfed.simulation.world import propose_study

__all__ = ["Stage"]


class Stage:
    """One seed's consortium."""

    def __init__(self, cast: Cast, note: Callable[[str], None]) -> None:
        self.cast = cast
        self.note = note
        self.rng = generator(cast.seed, "schedule")
        self.plan = fault_plan(cast)
        self.clock = ManualClock()
        self.operator_skew = 0
        self.corrupt: set[Name] = set()
        """Honest hospitals whose vault was restored: they count as corrupt."""
        self.given_up: set[Name] = set()
        keys = {name: SiteKeys.generate(name, seeded_site_entropy(cast.seed, name, "keys")) for name in cast.everybody}
        cipher: Cipher = NativeCipher(PARAMETERS) if cast.protection == "homomorphic" else WorkerCipher()
        organiser = SiteKeys.generate(ORGANISER, seeded_site_entropy(cast.seed, ORGANISER, "keys"))
        offices: list[tuple[SiteKeys, Role]] = [(keys[name], "aggregator") for name in OFFICES[cast.protection]]
        hospitals = [keys[name] for name in cast.names]
        consortium = make_consortium("faults", hospitals, organiser, self.clock(), others=offices)
        self.engine = MemoryEngine(consortium.genesis, self._block_time, *consortium.sealers())
        propose_study(self.engine, organiser, self.plan, STUDY)
        self.history = History(self.engine)
        self.blobs = BlobFaults(cast.everybody)
        self.network = Network(self.history, self.rng, self._heard)
        kind = Witness if cast.protection == "masked" else UnmaskedWitness
        self.witness = kind(STUDY, self.plan, self.is_honest)
        self.sites = {
            name: honest_site(cast, keys[name], self.history, self.blobs, self.clock, self._noticed, cipher)
            for name in cast.everybody
            if name not in cast.byzantine
        }
        self.liars = {name: liar(cast, keys[name], self.blobs, self.clock, note, cipher) for name in cast.byzantine}
        self._read: tuple[StateView, Study] | None = None

    def is_honest(self, name: Name) -> bool:
        """Whether a hospital follows the protocol and its vault is what it was."""
        return name in self.cast.honest and name not in self.corrupt

    @property
    def study(self) -> Study:
        """The study as it is now."""
        view = self.history.now
        if self._read is None or self._read[0] is not view:
            found = study_record(view, STUDY)
            if found is None:
                raise InvariantBroken("the study is gone")
            self._read = (view, found)
        return self._read[1]

    def staying(self) -> list[Name]:
        """The honest hospitals of the study that are there, and stay."""
        return [name for name in self.study.roster if self.is_honest(name) and not self.sites[name].gone]

    def serves(self, name: Name) -> bool:
        """Whether a hospital hands on the blobs that it has."""
        return name in self.sites and self.sites[name].gone != "absent"

    def hits(self, thousandths: int) -> bool:
        """Whether a chance came true."""
        return thousandths > 0 and self.rng.randrange(1000) < thousandths

    def _block_time(self) -> int:
        return self.clock() + self.operator_skew

    def _heard(self, name: Name, receipts: list[Receipt]) -> None:
        if name in self.sites:
            self.sites[name].agent.settle(receipts)

    def _noticed(self, name: Name, data: bytes) -> None:
        if self.is_honest(name):
            site = self.sites[name]
            self.witness.stored(site.agent.site, site.window.last, data)
