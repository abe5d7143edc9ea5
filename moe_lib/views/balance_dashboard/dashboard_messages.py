"""What the page of the balance dashboard may say: presses and settings."""

from moe_lib.views.kit.page_messages import (
    Form,
    MessageWidget,
    fields,
    number,
    one_of,
    several,
    text,
    whole,
)

_NAMES = {"cure": "kind", "speed": "bias_update_speed"}  # of the page's settings in a Cure
_SETTINGS = {  # what the page may set
    "cure": text,
    "alpha": number,
    "scope": text,
    "speed": number,
    "seed": whole(),
}


class DashboardMessages(MessageWidget):
    """Mixin of BalanceDashboard. Nothing here waits for the training."""

    FORMS = (
        Form("_press", needs={"act": one_of("start", "pause", "resume", "stop")}),
        Form("_set", needs={"act": one_of("set"), "settings": fields(_SETTINGS)}),
        Form("_show", needs={"act": one_of("show"), "places": several(whole())}),
        Form("_forget", needs={"act": one_of("forget"), "place": whole()}),
    )
    KEPT = ("_cure", "_seed", "_runs", "_hidden")

    def receive(self, message: object) -> str:
        """Also {"act": "hello"}, of a page that has just been opened: it has no steps yet, and must
        see what was wrong before."""
        if message == {"act": "hello"}:
            self._publish(every_row=True)
            return ""
        return super().receive(message)

    def _press(self, act: str) -> None:
        if act == "start":
            self.start()
        elif self.training is not None:
            {
                "pause": lambda: self.training.pause(wait=False),
                "resume": self.training.resume,
                "stop": lambda: self.training.stop(wait=False),
            }[act]()

    def _set(self, act: str, settings: dict) -> None:
        cure = {_NAMES.get(name, name): one for name, one in settings.items() if name != "seed"}
        self.seed = settings.get("seed", self.seed)
        self._change(**cure)

    def _show(self, act: str, places: list[int]) -> None:
        self.show_runs(places)

    def _forget(self, act: str, place: int) -> None:
        self.forget(place)
