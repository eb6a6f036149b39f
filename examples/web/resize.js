// Separable resizing with anti-aliasing and weights in 22-bit fixed point, as Pillow computes it, so that levels are equal.
const ONE = 2 ** 22;
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
// By Pillow's numbers: how far a filter reaches, and its value at a distance 0 … reach.
const FILTERS = {
  1: [3, (x) => sinc(x) * sinc(x / 3)],
  2: [1, (x) => 1 - x],
  3: [2, (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2)],
};

// {width, height, data} with 3 levels a pixel → the same of another size.
export function resized(image, width, height, resample) {
  if (image.width === width && image.height === height) return image;
  if (!FILTERS[resample]) throw new Error(`resample ${resample} is not known here: 1, 2 or 3 is`);
  const rows = along(image.data, image.height, image.width, width, 3, image.width * 3, width * 3, resample);
  const data = along(rows, width, image.height, height, width * 3, 3, 3, resample);
  return { width, height, data };
}

// Every line from `have` to `want` pixels; a pixel is `step` apart, a line `line` in what is read and `out` in what is written.
function along(data, lines, have, want, step, line, out, resample) {
  const made = new Uint8ClampedArray(lines * want * 3);
  const weights = Array.from({ length: want }, (_, place) => weightsOf(place, have, want, resample));
  for (let number = 0; number < lines; number++)
    for (let place = 0; place < want; place++)
      for (let channel = 0; channel < 3; channel++) {
        const [first, shares] = weights[place];
        let sum = ONE / 2;
        for (let k = 0; k < shares.length; k++) sum += data[number * line + (first + k) * step + channel] * shares[k];
        made[number * out + place * step + channel] = Math.floor(sum / ONE);
      }
  return made;
}

function weightsOf(place, have, want, resample) {
  const [reach, filter] = FILTERS[resample];
  const scale = have / want;
  const wide = Math.max(scale, 1);
  const centre = (place + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
  const end = Math.min(have, Math.trunc(centre + reach * wide + 0.5));
  const distances = Array.from({ length: end - first }, (_, k) => Math.abs((first + k - centre + 0.5) / wide));
  const values = distances.map((x) => (x < reach ? filter(x) : 0));
  const sum = values.reduce((one, other) => one + other, 0);
  return [first, values.map((value) => Math.sign(value) * Math.floor(Math.abs((value / sum) * ONE) + 0.5))];
}
