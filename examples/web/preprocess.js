// From a photograph to a classifier's input, by preprocessor_config.json.
import { resized } from "./resize.js";

// {width, height, data} with 3 levels a pixel, of a file that the browser decodes.
export async function decoded(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
  return { width: bitmap.width, height: bitmap.height, data: data.filter((_, place) => place % 4 < 3) };
}

// float32 [3, crop height, crop width], flat; what lies outside the resized image is black.
export function preprocessed(image, config) {
  const [width, height] = sizeOf(image, config.size);
  const small = resized(image, width, height, config.resample);
  const { width: columns, height: rows } = config.crop_size;
  const left = margin(width, columns, config.crop_rounding);
  const top = margin(height, rows, config.crop_rounding);
  const made = new Float32Array(3 * rows * columns);
  for (let channel = 0; channel < 3; channel++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const [x, y] = [left + column, top + row];
        const inside = x >= 0 && y >= 0 && x < width && y < height;
        const level = inside ? small.data[(y * width + x) * 3 + channel] : 0;
        made[(channel * rows + row) * columns + column] = normalised(level, channel, config);
      }
  return made;
}

// Each step in float32, as numpy takes it: a last bit decides which integer a quantized graph rounds a value to, and the
// layers after it make that much more.
function normalised(level, channel, config) {
  const [scale, mean, deviation] = [config.rescale_factor, config.image_mean[channel], config.image_std[channel]];
  const { fround } = Math;
  return fround(fround(fround(level * fround(scale)) - fround(mean)) / fround(deviation));
}

function sizeOf({ width, height }, size) {
  if (!size.shortest_edge) return [size.width, size.height];
  const edge = size.shortest_edge;
  return width <= height ? [edge, Math.trunc((edge * height) / width)] : [Math.trunc((edge * width) / height), edge];
}

function margin(have, want, rounding) {
  if (have < want) return -Math.floor((want - have) / 2);
  const half = Math.floor((have - want) / 2);
  return rounding === "even" && (have - want) % 2 === 1 && half % 2 === 1 ? half + 1 : half;
}
