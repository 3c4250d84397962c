// Numbers as people read them.

export const NONE = "–";

export function count(value) {
  if (value === null || value === undefined) return NONE;
  const digits = Math.abs(value) >= 100 || Math.abs(value - Math.round(value)) < 0.05 ? 0 : 1;
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

export function ms(value) {
  if (value === null || value === undefined) return NONE;
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

export const share = (value, digits = 1) =>
  value === null || value === undefined ? NONE : `${(value * 100).toFixed(digits)} %`;

export const fixed = (value, digits = 3) => (value === null || value === undefined ? NONE : value.toFixed(digits));

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172_800) return `${(value / 3600).toFixed(1)} h`;
  return `${count(+(value / 86_400).toFixed(1))} days`;
}

export const hours = (value) => seconds(value * 3600);

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : `${(value / 1e6).toFixed(0)} MB`;
}
