// Axes: where values lie, and round numbers between.

export function roundTo(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= most * 0.999) * power;
}

export const linear = (most, length) => (value) => (Math.max(value, 0) / most) * length;

// From 1 on; 0 lies at the start.
export const logarithmic = (most, length) => (value) =>
  value < 1 ? 0 : (Math.log10(value) + 0.25) / (Math.log10(Math.max(most, 10)) + 0.25) * length;

export function powers(most) {
  const found = [];
  for (let power = 1; power <= most; power *= 10) found.push(power);
  return found;
}

export const short = (value) =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : value.toLocaleString("en");
