// Draws the curves as SVG, and anew at each change of the controls.
'use strict';
{
  const WIDTH = 480, HEIGHT = 270, LEFT = 58, RIGHT = 12, TOP = 10, BOTTOM = 28;
  const FEW = 40; // points, up to which each gets a mark
  const data = JSON.parse(document.getElementById('data').textContent);
  const smoothing = document.getElementById('smoothing');
  const logarithmic = document.getElementById('logarithmic');
  const switches = [...document.querySelectorAll('#experiments input')];
  const switchOf = Object.fromEntries(switches.map(control => [control.value, control]));

  const svg = (name, attributes, parent) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.append(element);
    return element;
  };
  const shown = value => !Number.isFinite(value) ? String(value)
    : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6) ? value.toExponential(3)
    : String(Number(value.toPrecision(5)));

  // Exponential moving average that does not start at zero, as TensorBoard's; what is not finite is skipped.
  const smoothed = (values, weight) => {
    let sum = 0, total = 0;
    return values.map(value => {
      if (!Number.isFinite(value)) return value;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  };

  const linearTicks = (low, high, count) => {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find(factor => factor * power >= rough * 0.999);
    const ticks = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(n * step);
    return ticks;
  };
  const logarithmicTicks = (low, high) => {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const factors = last - first > 2 ? [1] : [1, 2, 5];
    const stride = Math.ceil((last - first) / 7);
    const ticks = [];
    for (let n = first; n <= last; n += stride) ticks.push(...factors.map(factor => factor * 10 ** n));
    const inside = ticks.filter(tick => tick >= low * 0.999 && tick <= high * 1.001);
    return inside.length > 1 ? inside : linearTicks(low, high, 5);
  };
  const short = value => value === 0 ? '0' : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5
    ? value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e') : String(Number(value.toPrecision(6)));

  class Plot {
    constructor(figure, curves) {
      this.curves = curves.map(curve => ({...curve, values: curve.values.map(Number)}));
      this.tag = figure.querySelector('figcaption').textContent;
      this.picture = svg('svg', {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: 'img', 'aria-label': this.tag});
      this.legend = document.createElement('ul');
      this.legend.className = 'legend';
      figure.append(this.picture, this.legend);
      this.picture.addEventListener('pointermove', event => this.point(event));
      this.picture.addEventListener('pointerleave', () => this.at(null));
      this.picture.addEventListener('blur', () => this.at(null));
      this.picture.addEventListener('keydown', event => this.key(event));
    }

    draw() {
      const weight = Number(smoothing.value);
      const drawn = this.curves.filter(curve => switchOf[curve.experiment].checked);
      this.lines = drawn.map(curve => ({...curve, smooth: weight ? smoothed(curve.values, weight) : curve.values}));
      this.logarithmic = logarithmic.checked && drawn.some(curve => curve.values.some(value => value > 0));
      this.fits = value => Number.isFinite(value) && (!this.logarithmic || value > 0);
      this.picture.replaceChildren();
      this.scale();
      this.axes();
      for (const line of this.lines) {
        const {colour, dash} = data.experiments[line.experiment];
        const look = {stroke: colour, 'data-experiment': line.experiment};
        if (weight) this.path(line, line.values, {class: 'raw', ...look});
        this.path(line, line.smooth, {class: `curve dash-${dash}`, ...look});
      }
      this.at(null);
    }

    scale() {
      const steps = this.lines.flatMap(line => [line.steps[0], line.steps.at(-1)]);
      const values = this.lines.flatMap(line => line.values.filter(this.fits));
      const least = list => list.reduce((a, b) => Math.min(a, b), Infinity);
      const most = list => list.reduce((a, b) => Math.max(a, b), -Infinity);
      [this.first, this.last] = steps.length ? [least(steps), most(steps)] : [0, 1];
      if (this.first === this.last) [this.first, this.last] = [this.first - 1, this.last + 1];
      let [low, high] = values.length ? [least(values), most(values)] : [0, 1];
      if (this.logarithmic) {
        const room = (high / low) ** 0.04;
        [this.low, this.high] = low === high ? [low / 2, high * 2] : [low / room, high * room];
      } else {
        const room = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.04;
        [this.low, this.high] = [low - room, high + room];
      }
    }

    x(step) { return LEFT + (step - this.first) / (this.last - this.first) * (WIDTH - LEFT - RIGHT); }

    y(value) {
      const share = this.logarithmic
        ? Math.log(value / this.low) / Math.log(this.high / this.low) : (value - this.low) / (this.high - this.low);
      return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
    }

    axes() {
      const [right, bottom] = [WIDTH - RIGHT, HEIGHT - BOTTOM];
      for (const tick of this.logarithmic ? logarithmicTicks(this.low, this.high) : linearTicks(this.low, this.high, 5)) {
        svg('line', {class: 'grid', x1: LEFT, x2: right, y1: this.y(tick), y2: this.y(tick)}, this.picture);
        svg('text', {x: LEFT - 6, y: this.y(tick) + 4, 'text-anchor': 'end'}, this.picture).textContent = short(tick);
      }
      for (const tick of linearTicks(this.first, this.last, 5).filter(Number.isInteger)) {
        svg('line', {class: 'grid', x1: this.x(tick), x2: this.x(tick), y1: TOP, y2: bottom}, this.picture);
        const label = tick >= 1e4 && tick % 100 === 0 ? `${tick / 1e3}k` : String(tick);
        const anchor = this.x(tick) > right - 12 ? 'end' : 'middle';
        svg('text', {x: this.x(tick), y: bottom + 15, 'text-anchor': anchor}, this.picture).textContent = label;
      }
      svg('path', {class: 'frame', d: `M${LEFT} ${TOP}V${bottom}H${right}`}, this.picture);
      if (!this.lines.length) {
        const middle = {x: (LEFT + right) / 2, y: HEIGHT / 2, 'text-anchor': 'middle'};
        svg('text', middle, this.picture).textContent = 'none of the chosen experiments has it';
      }
    }

    // A line with gaps where a value cannot be drawn; a few points, or lonely ones, get marks.
    path(line, values, attributes) {
      const {stroke} = attributes;
      let d = '';
      values.forEach((value, index) => {
        if (!this.fits(value)) return;
        const joins = index > 0 && this.fits(values[index - 1]);
        const spot = `${this.x(line.steps[index]).toFixed(1)} ${this.y(value).toFixed(1)}`;
        d += (joins ? 'L' : 'M') + spot;
        const lonely = !joins && !this.fits(values[index + 1]);
        if (attributes.class !== 'raw' && (values.length <= FEW || lonely)) {
          const [cx, cy] = spot.split(' ');
          svg('circle', {cx, cy, r: 2.4, fill: stroke, 'data-experiment': line.experiment}, this.picture);
        }
      });
      svg('path', {...attributes, d}, this.picture);
    }

    point(event) {
      const box = this.picture.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * WIDTH;
      this.at(this.first + (x - LEFT) / (WIDTH - LEFT - RIGHT) * (this.last - this.first));
    }

    // Left and right go from point to point of all curves.
    key(event) {
      const steps = [...new Set(this.lines.flatMap(line => line.steps))].sort((a, b) => a - b);
      const here = this.cursorAt ?? this.last;
      const next = {ArrowLeft: () => steps.findLast(step => step < here), ArrowRight: () => steps.find(step => step > here)};
      if (!(event.key in next)) return;
      event.preventDefault();
      this.at(next[event.key]() ?? here);
    }

    // Values at the nearest iteration of each curve, or the last ones.
    at(step) {
      this.picture.querySelector('.cursor')?.remove();
      this.cursorAt = step === null ? null : Math.min(Math.max(step, this.first), this.last);
      if (step !== null) {
        const x = this.x(this.cursorAt);
        svg('line', {class: 'cursor', x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM}, this.picture);
      }
      this.legend.replaceChildren(...this.lines.map(line => this.entry(line)));
    }

    entry(line) {
      let index = line.steps.length - 1;
      if (this.cursorAt !== null) {
        const distance = at => Math.abs(line.steps[at] - this.cursorAt);
        line.steps.forEach((_, at) => { if (distance(at) < distance(index)) index = at; });
      }
      const entry = document.createElement('li');
      const part = (name, text) => {
        const element = document.createElement('span');
        element.className = name;
        element.textContent = text;
        entry.append(element);
        return element;
      };
      const {name, colour, dash} = data.experiments[line.experiment];
      part(`swatch dash-${dash}`, '').style.setProperty('--colour', colour);
      part('name', name).title = name;
      const average = Number(smoothing.value) ? ` (smooth ${shown(line.smooth[index])})` : '';
      const hidden = line.values.filter(value => !this.fits(value)).length;
      if (hidden) part('value', `${hidden} not drawn:`).title = 'not finite, or not above 0 on a logarithmic axis';
      part('value', `${shown(line.values[index])}${average} at ${line.steps[index]}`);
      return entry;
    }
  }

  const plots = [...document.querySelectorAll('.plot')].map(figure => new Plot(figure, data.plots[figure.dataset.plot]));
  let waiting = false;
  const draw = () => {
    if (waiting || !plots.length) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      document.querySelector('#controls output').textContent = smoothing.value;
      for (const plot of plots) plot.draw();
    });
  };
  for (const control of [...switches, smoothing, logarithmic]) control?.addEventListener('input', draw);
  for (const [id, checked] of [['all', true], ['none', false]]) {
    document.getElementById(id).addEventListener('click', () => {
      for (const control of switches) control.checked = checked;
      draw();
    });
  }
  // Pointing at an experiment's name makes the others' lines faint.
  const emphasise = number => {
    for (const shape of document.querySelectorAll('.plot [data-experiment]')) {
      shape.classList.toggle('faint', number !== null && shape.dataset.experiment !== number);
    }
  };
  for (const control of switches) {
    control.parentElement.addEventListener('pointerenter', () => emphasise(control.value));
    control.parentElement.addEventListener('pointerleave', () => emphasise(null));
  }
  draw();
}
