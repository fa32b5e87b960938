// The United States on a plane: Albers' conic with equal areas, Alaska and Hawaii in boxes of their own.

const RADIANS = Math.PI / 180;

function albers(south, north, lat0, lon0) {
  const [first, second] = [Math.sin(south * RADIANS), Math.sin(north * RADIANS)],
    n = (first + second) / 2;
  const c = Math.cos(south * RADIANS) ** 2 + 2 * n * first,
    rho = lat => Math.sqrt(Math.max(0, c - 2 * n * Math.sin(lat * RADIANS))) / n;
  return (lat, lon) => {
    const theta = n * (lon - lon0) * RADIANS,
      far = rho(lat);
    return [far * Math.sin(theta), rho(lat0) - far * Math.cos(theta)];
  };
}

export const INSETS = [
  {
    name: "Alaska",
    x: 8,
    y: 306,
    width: 120,
    height: 86,
    lat: [51, 72],
    lon: [-180, -129],
    plane: albers(55, 65, 63, -154),
    scale: 165,
    at: [66, 346],
  },
  {
    name: "Hawaii",
    x: 136,
    y: 336,
    width: 84,
    height: 56,
    lat: [18, 23],
    lon: [-161, -154],
    plane: albers(8, 18, 20.6, -157.4),
    scale: 520,
    at: [178, 360],
  },
];

export const CITIES = [
  ["Seattle", 47.61, -122.33],
  ["San Francisco", 37.77, -122.42],
  ["Los Angeles", 34.05, -118.24],
  ["Denver", 39.74, -104.99],
  ["Houston", 29.76, -95.37],
  ["Minneapolis", 44.98, -93.27],
  ["Chicago", 41.88, -87.63],
  ["Atlanta", 33.75, -84.39],
  ["Miami", 25.76, -80.19],
  ["New York", 40.71, -74.01],
];

const states = albers(29.5, 45.5, 38, -96),
  SCALE = 765,
  AT = [326, 204];
const LAT = [24, 50],
  LON = [-126, -66];

const within = (value, [low, high]) => value >= low && value <= high;

/** The point of a place; null for one that is not on the map. */
export function project(lat, lon) {
  const inset = INSETS.find(box => within(lat, box.lat) && within(lon, box.lon));
  if (!inset && !(within(lat, LAT) && within(lon, LON))) return null;
  const [x, y] = (inset?.plane ?? states)(lat, lon),
    scale = inset?.scale ?? SCALE,
    at = inset?.at ?? AT;
  return { x: at[0] + x * scale, y: at[1] - y * scale };
}

/** Parallels and meridians as lists of points. */
export function graticule() {
  const steps = (from, to, by) => Array.from({ length: Math.round((to - from) / by) + 1 }, (_, at) => from + at * by);
  const line = places =>
    places
      .map(([lat, lon]) => project(lat, lon))
      .map(at => `${at.x.toFixed(1)},${at.y.toFixed(1)}`)
      .join(" ");
  const parallels = steps(25, 50, 5).map(lat => line(steps(LON[0], LON[1], 2).map(lon => [lat, lon])));
  const meridians = steps(-120, -70, 10).map(lon => line(steps(25, 50, 1).map(lat => [lat, lon])));
  return [...parallels, ...meridians];
}
