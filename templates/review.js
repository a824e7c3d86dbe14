// Keys: j and k go through the findings, x ticks the one that is shown.
(function () {
	var findings = Array.prototype.slice.call(document.querySelectorAll(".finding"));
	var at = -1;
	function show(to) {
		if (to < 0 || to >= findings.length) return;
		if (at >= 0) findings[at].classList.remove("current");
		at = to;
		findings[at].classList.add("current");
		findings[at].querySelector("input").focus({ preventScroll: true });
		findings[at].scrollIntoView({ block: "center" });
	}
	document.addEventListener("keydown", function (event) {
		if (event.ctrlKey || event.altKey || event.metaKey) return;
		if (event.key === "j") show(at + 1);
		else if (event.key === "k") show(at - 1);
		else if (event.key === "x" && at >= 0) findings[at].querySelector("input").click();
	});
	// What a link leads to may be folded away.
	function unfold() {
		var id = location.hash.slice(1);
		var there = id && document.getElementById(id);
		for (var up = there; up; up = up.parentElement)
			if (up.tagName === "DETAILS") up.open = true;
		if (there) there.scrollIntoView();
	}
	window.addEventListener("hashchange", unfold);
	unfold();
})();
