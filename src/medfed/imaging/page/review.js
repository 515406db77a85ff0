"use strict";
// Pictures with boxes. Nothing is loaded and nothing is sent: the review is saved as a file by whoever made it.
const data = JSON.parse(document.getElementById("data").textContent);
const space = "http://www.w3.org/2000/svg";
let least = 0.3;
let unsaved = false;

function made(name, attributes, text) {
  const node = document.createElement(name);
  Object.assign(node, attributes || {});
  if (text !== undefined) node.textContent = text;
  return node;
}

function drawn(name, attributes) {
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

function within(value, end) {
  return Math.min(Math.max(value, 0), end);
}

class View {
  constructor(picture, number) {
    this.picture = picture;
    this.chosen = null;
    this.drawing = false;
    this.figure = made("figure");
    this.svg = drawn("svg", { viewBox: `0 0 ${picture.width} ${picture.height}`, role: "img" });
    this.svg.setAttribute("aria-label", `picture ${number}`);
    this.svg.append(drawn("image", { href: picture.image, width: picture.width, height: picture.height }));
    this.layer = drawn("g", {});
    this.svg.append(this.layer);
    this.caption = made("figcaption");
    this.figure.append(this.svg, this.caption);
    this.number = number;
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.show();
  }

  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [within(point.x, this.picture.width), within(point.y, this.picture.height)];
  }

  visible(box) {
    return box.origin !== "detected" || box.decision !== "undecided" || box.score >= least;
  }

  show() {
    this.layer.replaceChildren();
    const size = this.picture.width / 45;
    for (const box of this.picture.boxes) {
      if (!this.visible(box)) continue;
      const [left, top, right, bottom] = box.box;
      const kind = `box ${box.origin} ${box.decision}${box === this.chosen ? " chosen" : ""}`;
      const shape = drawn("rect", { x: left, y: top, width: right - left, height: bottom - top, class: kind });
      shape.addEventListener("pointerdown", (event) => {
        if (this.drawing) return;
        event.stopPropagation();
        this.chosen = box;
        this.show();
        this.drag(event, box, null);
      });
      this.layer.append(shape);
      // A detector's words stand below its box, an annotation's above, so that neither hides the other.
      const below = Math.min(bottom + size, this.picture.height - 2);
      const words = drawn("text", { x: left + 2, y: box.origin === "detected" ? below : Math.max(top - 3, size) });
      words.style.fontSize = `${size}px`;
      words.style.strokeWidth = `${size / 5}px`;
      words.textContent = box.label + (box.score === undefined ? "" : ` ${box.score.toFixed(2)}`);
      if (this.picture.boxes.length < 40 || box === this.chosen || box.origin !== "annotated") this.layer.append(words);
    }
    if (this.chosen) this.handles(this.chosen, size / 2);
    this.write();
  }

  handles(box, half) {
    for (const [across, down] of [[0, 1], [2, 1], [0, 3], [2, 3]]) {
      const handle = drawn("rect", {
        x: box.box[across] - half / 2, y: box.box[down] - half / 2, width: half, height: half, class: "handle",
      });
      handle.style.cursor = "crosshair";
      handle.addEventListener("pointerdown", (event) => {
        event.stopPropagation();
        this.drag(event, box, [across, down]);
      });
      this.layer.append(handle);
    }
  }

  follow(move, end) {
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      end();
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
  }

  drag(event, box, corner) {
    const [x, y] = this.at(event);
    const before = box.box.slice();
    const move = (next) => {
      const [u, v] = this.at(next);
      if (corner) {
        box.box[corner[0]] = u;
        box.box[corner[1]] = v;
      } else {
        const dx = within(before[0] + u - x, this.picture.width - (before[2] - before[0])) - before[0];
        const dy = within(before[1] + v - y, this.picture.height - (before[3] - before[1])) - before[1];
        box.box = [before[0] + dx, before[1] + dy, before[2] + dx, before[3] + dy];
      }
      this.show();
    };
    this.follow(move, () => {
      const [a, b, c, d] = box.box;
      box.box = [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
      if (box.box[2] - box.box[0] < 1 || box.box[3] - box.box[1] < 1) box.box = before;
      if (box.box.some((value, index) => value !== before[index])) this.edited(box);
      this.show();
    });
  }

  edited(box) {
    box.changed = true;
    // Whoever corrects a box means that it is one.
    if (box.origin !== "drawn") box.decision = "accepted";
    unsaved = true;
  }

  press(event) {
    if (!this.drawing) {
      this.chosen = null;
      this.show();
      return;
    }
    const [x, y] = this.at(event);
    const box = { label: data.labels[0], box: [x, y, x, y], origin: "drawn", decision: "accepted" };
    this.picture.boxes.push(box);
    this.drawing = false;
    this.chosen = box;
    this.follow((next) => {
      const [u, v] = this.at(next);
      box.box = [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
      this.show();
    }, () => {
      if (box.box[2] - box.box[0] < 1 || box.box[3] - box.box[1] < 1) {
        this.picture.boxes.pop();
        this.chosen = null;
      }
      unsaved = true;
      this.show();
    });
  }

  button(words, act) {
    const node = made("button", { type: "button" }, words);
    node.addEventListener("click", () => {
      act();
      unsaved = true;
      this.show();
    });
    this.caption.append(node);
  }

  write() {
    this.caption.replaceChildren(made("span", { className: "quiet" }, `picture ${this.number}`));
    const box = this.chosen;
    if (!box) {
      this.button(this.drawing ? "press and drag on the picture" : "new box", () => { this.drawing = true; });
      const open = this.picture.boxes.filter((one) => one.origin === "detected" && one.decision === "undecided");
      const count = open.filter((one) => this.visible(one)).length;
      this.caption.append(made("span", { className: "quiet" }, count ? `${count} to decide` : "nothing to decide"));
      return;
    }
    if (box.origin === "drawn") {
      this.button("remove", () => {
        this.picture.boxes.splice(this.picture.boxes.indexOf(box), 1);
        this.chosen = null;
      });
    } else {
      this.button("accept", () => { box.decision = "accepted"; });
      this.button("reject", () => { box.decision = "rejected"; });
      this.button("undecided", () => { box.decision = "undecided"; });
    }
    const classes = made("select");
    for (const label of data.labels) classes.append(made("option", { value: label, selected: label === box.label }, label));
    classes.addEventListener("change", () => {
      box.label = classes.value;
      this.edited(box);
      this.show();
    });
    const score = box.score === undefined ? "" : `, score ${box.score.toFixed(2)}`;
    this.caption.append(classes, made("span", { className: "quiet" }, `${box.origin}${score}: ${box.decision}`));
  }
}

const views = data.pictures.map((picture, index) => new View(picture, index + 1));
document.getElementById("pictures").append(...views.map((view) => view.figure));

const bar = document.getElementById("bar");
const name = made("input", { type: "text", placeholder: "your name", maxLength: 80 });
const slider = made("input", { type: "range", min: "0", max: "1", step: "0.05", value: String(least) });
const shown = made("span", { className: "quiet" }, `scores from ${least.toFixed(2)}`);
slider.addEventListener("input", () => {
  least = Number(slider.value);
  shown.textContent = `scores from ${least.toFixed(2)}`;
  views.forEach((view) => view.show());
});
const save = made("button", { type: "button", className: "save" }, "save review");
save.addEventListener("click", () => {
  if (!name.value.trim()) {
    name.focus();
    return;
  }
  const pictures = data.pictures.map((picture) => ({ file: picture.file, boxes: picture.boxes }));
  const review = JSON.stringify({ set: data.set, reviewer: name.value.trim(), pictures });
  const link = made("a", { href: URL.createObjectURL(new Blob([review])), download: "review.json" });
  link.click();
  URL.revokeObjectURL(link.href);
  unsaved = false;
});
bar.append(name, slider, shown, save);
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
