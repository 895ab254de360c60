"use strict";
const scene = JSON.parse(document.getElementById("scene").textContent);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// Arrays travel as base64 of their bytes.
const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
const unpack = ({ type, bytes }) => {
  const text = atob(bytes), raw = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) raw[i] = text.charCodeAt(i);
  return new ARRAYS[type](raw.buffer);
};
const pos = unpack(scene.pos), count = pos.length / 3, ramp = unpack(scene.ramp);
let highest = -Infinity, lowest = Infinity, radius = 1e-3;
for (let i = 0; i < count; i++) {
  highest = Math.max(highest, pos[3 * i + 2]);
  lowest = Math.min(lowest, pos[3 * i + 2]);
  radius = Math.max(radius, Math.hypot(pos[3 * i], pos[3 * i + 1], pos[3 * i + 2]));
}

// What a view has for a point: an index into its palette, or for "colors" three bytes.
const hidden = {};
for (const view of scene.views) {
  view.values = unpack(view.data);
  if (view.kind === "classes") {
    view.palette = unpack(view.colors);
    view.hidden = hidden[view.legend] ??= new Set();
    view.used = new Set(view.values);
  }
  if (view.maps) Object.assign(view, { node: unpack(view.node), maps: unpack(view.maps) });
}
const isHeat = pane => pane.view.kind === "heat" || pane.latent >= 0;
const warmth = ({ view, latent }, i) => latent < 0 ? view.values[i] : view.maps[latent * view.nodes + view.node[i]];
const valueOf = (view, step) => (view.low + step / 255 * (view.high - view.low)).toPrecision(3);

const canvas = document.querySelector("canvas"), tip = document.getElementById("tip");
const gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
if (!gl) {
  canvas.replaceWith(make("p", { className: "warning", textContent: "This page needs a browser with WebGL 2." }));
  throw new Error("no WebGL 2");
}
const shader = (type, text) => {
  const made = gl.createShader(type);
  gl.shaderSource(made, text);
  gl.compileShader(made);
  if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
  return made;
};
const program = gl.createProgram();
gl.attachShader(program, shader(gl.VERTEX_SHADER, `#version 300 es
  layout(location = 0) in vec3 pos;
  layout(location = 1) in vec4 color;
  uniform mat4 camera;
  uniform float size, cut;
  out vec3 shade;
  void main() {
    shade = color.rgb;
    gl_Position = color.a == 0.0 || pos.z > cut ? vec4(2, 2, 2, 1) : camera * vec4(pos, 1);
    gl_PointSize = max(1.5, size / gl_Position.w);
  }`));
gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `#version 300 es
  precision mediump float;
  in vec3 shade;
  out vec4 pixel;
  void main() { pixel = vec4(shade, 1); }`));
gl.linkProgram(program);
gl.useProgram(program);
gl.enable(gl.DEPTH_TEST);
gl.clearColor(1, 1, 1, 1);
const uniform = Object.fromEntries(["camera", "size", "cut"].map(
  name => [name, gl.getUniformLocation(program, name)]));
const positions = gl.createBuffer();
gl.bindBuffer(gl.ARRAY_BUFFER, positions);
gl.bufferData(gl.ARRAY_BUFFER, pos, gl.STATIC_DRAW); // once: colors and legends leave it alone

// Two views of the same points, one camera; a scene with one view has one pane.
const panes = [0, scene.beside].slice(0, scene.views.length > 1 ? 2 : 1).map(i => {
  const pane = { view: scene.views[i], latent: -1, head: make("div"), rgba: new Uint8Array(4 * count) };
  pane.vertices = gl.createVertexArray();
  pane.buffer = gl.createBuffer();
  gl.bindVertexArray(pane.vertices);
  for (const [place, buffer, size, type] of [[0, positions, 3, gl.FLOAT], [1, pane.buffer, 4, gl.UNSIGNED_BYTE]]) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, true, 0, 0);
  }
  return pane;
});
document.getElementById("heads").append(...panes.map(pane => pane.head));
document.getElementById("heads").style.gridTemplateColumns = `repeat(${panes.length}, 1fr)`;

const dye = pane => { // the colors of its points; those of classes switched off are transparent
  const { view, rgba } = pane, heat = isHeat(pane);
  const rgb = view.kind === "colors" ? view.values : heat ? ramp : view.palette;
  for (let i = 0; i < count; i++) {
    const value = view.kind === "colors" ? i : heat ? warmth(pane, i) : view.values[i];
    for (let k = 0; k < 3; k++) rgba[4 * i + k] = rgb[3 * value + k];
    rgba[4 * i + 3] = !heat && view.hidden?.has(value) ? 0 : 255;
  }
  gl.bindBuffer(gl.ARRAY_BUFFER, pane.buffer);
  gl.bufferData(gl.ARRAY_BUFFER, rgba, gl.DYNAMIC_DRAW);
};

// The camera goes round a target; angles in radians, lengths in meters.
const camera = { turn: -0.75, tilt: 0.85, distance: 2.6 * radius, target: [0, 0, 0] };
const sight = aspect => {
  const { turn, tilt, distance, target } = camera;
  const [ct, st, cu, su] = [Math.cos(tilt), Math.sin(tilt), Math.cos(turn), Math.sin(turn)];
  const right = [-su, cu, 0], up = [-st * cu, -st * su, ct], back = [ct * cu, ct * su, st];
  const eye = target.map((t, i) => t + distance * back[i]);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const far = distance + 2 * radius + Math.hypot(...target), near = far / 2000;
  const fy = 2 / Math.max(1, 1 / aspect), fx = fy / aspect;
  const matrix = new Float32Array(16);
  for (let i = 0; i < 3; i++) {
    matrix[4 * i] = fx * right[i];
    matrix[4 * i + 1] = fy * up[i];
    matrix[4 * i + 2] = -(far + near) / (far - near) * back[i];
    matrix[4 * i + 3] = -back[i];
  }
  matrix[12] = -fx * dot(right, eye);
  matrix[13] = -fy * dot(up, eye);
  matrix[14] = (far + near) / (far - near) * dot(back, eye) - 2 * far * near / (far - near);
  matrix[15] = dot(back, eye);
  return { matrix, fy, right, up };
};
const slider = id => Number(document.getElementById(id).value);
const cut = () => slider("cut") === 0 ? 1e9 : highest - slider("cut") * (highest - lowest);
const draw = () => {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * scale);
  canvas.height = Math.round(canvas.clientHeight * scale);
  const width = Math.floor(canvas.width / panes.length), { matrix, fy } = sight(width / canvas.height);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniformMatrix4fv(uniform.camera, false, matrix);
  gl.uniform1f(uniform.size, 1.6 * 2 ** slider("size") * scene.spacing * fy * canvas.height / 2);
  gl.uniform1f(uniform.cut, cut());
  panes.forEach((pane, i) => {
    gl.viewport(i * width, 0, width, canvas.height);
    gl.bindVertexArray(pane.vertices);
    gl.drawArrays(gl.POINTS, 0, count);
  });
};
let waiting = false;
const redraw = () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
};

const headOf = pane => { // what a pane shows, chosen from lists
  const views = make("select", { ariaLabel: "coloring" }, ...scene.views.map(
    view => make("option", { textContent: view.title, selected: view === pane.view })));
  views.onchange = () => { pane.view = scene.views[views.selectedIndex]; pane.latent = -1; show(pane); };
  pane.head.replaceChildren(views);
  if (!pane.view.maps) return;
  const latents = make("select", { ariaLabel: "latent node" }, make("option", { textContent: "strongest latent" }),
    ...pane.view.names.slice(0, -1).map(name => make("option", { textContent: name })));
  latents.selectedIndex = pane.latent + 1;
  latents.onchange = () => { pane.latent = latents.selectedIndex - 1; show(pane); };
  pane.head.append(latents);
};
const swatch = (rgb, i) => {
  const made = make("span");
  made.style.background = `rgb(${rgb.subarray(3 * i, 3 * i + 3)})`;
  return made;
};
const legendOf = pane => {
  const { view } = pane, list = make("ul", { className: "legend" });
  if (isHeat(pane)) {
    const scale = make("div", { className: "scale" }), colors = [];
    for (let i = 0; i < 256; i += 15) colors.push(`rgb(${ramp.subarray(3 * i, 3 * i + 3)})`);
    scale.style.background = `linear-gradient(to right, ${colors})`;
    const name = pane.latent < 0 ? view.title : `${view.title}, ${view.names[pane.latent]}`;
    list.append(`${name}: `, valueOf(view, 0), scale, valueOf(view, 255));
    return list;
  }
  const change = (...classes) => {
    for (const i of classes) view.hidden.has(i) ? view.hidden.delete(i) : view.hidden.add(i);
    panes.forEach(dye);
    legends();
    redraw();
  };
  const used = [...new Set(scene.views.filter(v => v.hidden === view.hidden).flatMap(v => [...v.used]))];
  for (const i of used.sort((a, b) => a - b)) {
    const entry = make("button", { ariaPressed: String(!view.hidden.has(i)) }, swatch(view.palette, i), view.names[i]);
    entry.onclick = () => change(i);
    list.append(make("li", {}, entry));
  }
  const others = make("button", { textContent: view.hidden.size ? "all" : "none" });
  others.onclick = () => change(...view.hidden.size ? [...view.hidden] : used);
  list.append(make("li", {}, others));
  return list;
};
const legends = () => { // one for all panes whose classes are the same
  const shown = panes.filter((pane, i) => pane.view.kind !== "colors" && !panes.slice(0, i).some(
    other => !isHeat(pane) && !isHeat(other) && other.view.hidden === pane.view.hidden));
  document.getElementById("legends").replaceChildren(...shown.map(legendOf));
};
const show = pane => { dye(pane); headOf(pane); legends(); redraw(); };

// What is under the mouse, said of every view.
const nearest = (pane, x, y, width, height) => {
  const { matrix: m } = sight(width / height), limit = cut(), reach = 8;
  let best = -1, bestDepth = Infinity;
  for (let i = 0; i < count; i++) {
    const [px, py, pz] = [pos[3 * i], pos[3 * i + 1], pos[3 * i + 2]];
    const w = m[3] * px + m[7] * py + m[11] * pz + m[15];
    if (w <= 0 || w >= bestDepth || pz > limit || !pane.rgba[4 * i + 3]) continue;
    const sx = (1 + (m[0] * px + m[4] * py + m[8] * pz + m[12]) / w) * width / 2;
    const sy = (1 - (m[1] * px + m[5] * py + m[9] * pz + m[13]) / w) * height / 2;
    if (Math.abs(sx - x) > reach || Math.abs(sy - y) > reach) continue;
    [best, bestDepth] = [i, w];
  }
  return best;
};
const describe = i => scene.views.filter(view => view.kind !== "colors").map(
  view => `${view.title}: ${view.kind === "heat" ? valueOf(view, view.values[i]) : view.names[view.values[i]]}`);
let looking = null;
const look = event => {
  if (looking) cancelAnimationFrame(looking);
  looking = requestAnimationFrame(() => {
    const width = canvas.clientWidth / panes.length, pane = Math.min(panes.length - 1, Math.floor(event.offsetX / width));
    const found = nearest(panes[pane], event.offsetX - pane * width, event.offsetY, width, canvas.clientHeight);
    tip.textContent = found < 0 ? "" : describe(found).join("\n");
    tip.style.display = tip.textContent ? "block" : "none";
    tip.style.left = `${Math.min(event.offsetX + 14, canvas.clientWidth - tip.offsetWidth - 4)}px`;
    tip.style.top = `${canvas.offsetTop + event.offsetY + 14}px`;
  });
};

const held = new Map(); // pointers that are down, by their numbers
const zoom = factor => { camera.distance = Math.min(20 * radius, Math.max(0.01 * radius, camera.distance * factor)); };
const move = (dx, dy) => {
  const { right, up } = sight(1), meters = camera.distance / canvas.clientHeight;
  camera.target = camera.target.map((t, i) => t + meters * (dy * up[i] - dx * right[i]));
};
canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, event); };
canvas.onpointerup = canvas.onpointercancel = event => held.delete(event.pointerId);
canvas.onpointerleave = () => { tip.style.display = "none"; };
canvas.onpointermove = event => {
  const before = held.get(event.pointerId);
  if (!before) { look(event); return; }
  tip.style.display = "none";
  const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
  held.set(event.pointerId, event);
  if (held.size === 2) {
    const other = [...held.values()].find(pointer => pointer.pointerId !== event.pointerId);
    const apart = pointer => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
    zoom(apart(before) / Math.max(1, apart(event)));
    move(dx / 2, dy / 2);
  } else if (event.buttons & 2 || event.shiftKey) {
    move(dx, dy);
  } else {
    camera.turn -= dx / 150;
    camera.tilt = Math.min(1.57, Math.max(-1.57, camera.tilt + dy / 150));
  }
  redraw();
};
canvas.oncontextmenu = event => event.preventDefault();
canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(event.deltaY / 600)); redraw(); }, { passive: false });
for (const id of ["size", "cut"]) document.getElementById(id).oninput = redraw;
new ResizeObserver(redraw).observe(canvas);

panes.forEach(pane => { dye(pane); headOf(pane); });
legends();
draw();
document.body.dataset.drawn = count;
