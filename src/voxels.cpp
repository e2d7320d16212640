// Voxels of tiles: what comes into them, and what fades. A tile's columns stand one after the other in a table of
// addresses: cells, points, colors, codes, scales, confidence, hits, anchors (sab3r_ros/mapping/tiles.py, voxels.py).
// All arrays are the caller's (sab3r_ros/mapping/compiled.py), contiguous.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "wide.h"

namespace {

enum Column { kCells, kPoints, kColors, kCodes, kScales, kConfidence, kHits, kAnchors, kColumns };

constexpr float kLevels = 127, kMaxConfidence = 2000, kMostHits = 65535;

// float16 of what is not negative and not too large.
float from_half(uint16_t half) {
  if (half < 1 << 10) return half * 0x1p-24f;
  const uint32_t bits = (uint32_t(half) << 13) + (112u << 23);
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

uint16_t to_half(float value) {
  if (value < 0x1p-14f) return uint16_t(std::nearbyint(value * 0x1p24f));
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return uint16_t((bits + 0xfff + (bits >> 13 & 1)) >> 13) - uint16_t(112 << 10);
}

struct Dice {  // splitmix64
  uint64_t state;
  uint64_t left = 0;
  int halves = 0;
  float next() {  // uniform in [0, 1)
    if (!halves--) {
      uint64_t z = state += 0x9e3779b97f4a7c15u;
      z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u, z = (z ^ z >> 27) * 0x94d049bb133111ebu;
      left = z ^ z >> 31, halves = 3;
    }
    const float out = (left & 0xffff) * 0x1p-16f;
    left >>= 16;
    return out;
  }
};

struct Tile {
  char* const* columns;
  template <class T>
  T* at(Column column, int64_t row, int64_t width = 1) const {
    return reinterpret_cast<T*>(columns[column]) + row * width;
  }
};

constexpr int kEdge = 40, kBits = 15;  // cells along a tile's edge; bits of a tile coordinate in its number

// Finds a tile's rows by their cells.
struct Rows {
  static constexpr int kWords = 1024;
  std::vector<uint64_t> filled = std::vector<uint64_t>(kWords);  // a bit a cell
  std::vector<int32_t> before = std::vector<int32_t>(kWords);    // rows before those of a word's cells
  Rows(const uint16_t* cells, int64_t size) {
    for (int64_t row = size - 1; row >= 0; --row) {
      filled[cells[row] >> 6] |= uint64_t(1) << (cells[row] & 63);
      before[cells[row] >> 6] = int32_t(row);
    }
  }
  int64_t of(int64_t cell) const {  // -1 if it is empty
    const uint64_t word = filled[cell >> 6], bit = uint64_t(1) << (cell & 63);
    return word & bit ? before[cell >> 6] + __builtin_popcountll(word & (bit - 1)) : -1;
  }
};

// The sure voxels of a tile, and of the cells right around it: coordinates are from -1 to kEdge.
struct Sure {
  static constexpr int kSide = kEdge + 2;
  struct Voxel {
    float point[3], confidence;
  };
  std::vector<uint64_t> bars = std::vector<uint64_t>(kSide * kSide);  // a bit a cell, along z
  std::vector<int32_t> before = std::vector<int32_t>(kSide * kSide);  // voxels before those of a bar
  std::vector<Voxel> voxels;                                          // by x, y, z
  static int bar(int x, int y) { return (x + 1) * kSide + y + 1; }
  void set(int x, int y, int z) { bars[bar(x, y)] |= uint64_t(1) << (z + 1); }
  void count() {
    int32_t sum = 0;
    for (int b = 0; b < kSide * kSide; ++b) before[b] = sum, sum += __builtin_popcountll(bars[b]);
    voxels.resize(sum);
  }
  bool holds(int x, int y, int z) const { return bars[bar(x, y)] >> (z + 1) & 1; }
  int64_t of(int bar, int z) const {  // the first voxel of a bar that is not below z
    return before[bar] + __builtin_popcountll(bars[bar] & ((uint64_t(1) << (z + 1)) - 1));
  }
};

// Rows [row, row + count) of one tile to another.
void copy(const Tile& from, int64_t row, const Tile& to, int64_t there, int64_t count, const int64_t* bytes) {
  for (int c = 0; c < kColumns; ++c)
    std::memcpy(to.columns[c] + there * bytes[c], from.columns[c] + row * bytes[c], count * bytes[c]);
}

}  // namespace

extern "C" {

// Where the cells of what comes into each of n tiles stand in the tiles as they will be. Tile t holds sizes[t] cells, of
// which those go where leave[t] (if it is not 0) says so; into it come cells[bounds[t]] to cells[bounds[t + 1]],
// ascending. → at: the row there; held: the row that holds the cell now, or −1; after: how many rows the tile will have.
int64_t places(int64_t n, char* const* tiles, const int64_t* sizes, const uint8_t* const* leave,
               const int64_t* bounds, const uint16_t* cells, int32_t* at, int32_t* held, int64_t* after) {
  for (int64_t t = 0; t < n; ++t) {
    int64_t row = 0, out = 0;
    const uint16_t* own = Tile{tiles + t * kColumns}.at<uint16_t>(kCells, 0);
    auto pass = [&](int64_t until) {  // the rows whose cells come before one
      for (; row < sizes[t] && own[row] < until; ++row) out += !leave[t] || !leave[t][row];
    };
    for (int64_t g = bounds[t]; g < bounds[t + 1]; ++g) {
      pass(cells[g]);
      const bool same = row < sizes[t] && own[row] == cells[g];
      held[g] = same && !(leave[t] && leave[t][row]) ? int32_t(row) : -1;
      row += same;
      at[g] = int32_t(out++);
    }
    pass(1 << 16);
    after[t] = out;
  }
  return n;
}

// Which of m points join a voxel beside them, see beside.py (sab3r_ros/mapping). numbers: of the n tiles that are looked at,
// ascending; corners: (65536, 3) the place of a cell in its tile; shares: (3, kEdge) an axis' share in a cell's number.
// Fills in the keys of those that join, and moves them into its cell. → how many.
WIDE int64_t beside(int64_t n, char* const* tiles, const int64_t* sizes, const uint8_t* const* leave, const int64_t* numbers,
               const uint8_t* corners, const int64_t* shares, int64_t m, const uint8_t* may_join, int64_t* keys,
               float* points, double size, double reach, float supported, float ratio) {
  constexpr int kMask = (1 << kBits) - 1, kHalf = 1 << (kBits - 1);
  constexpr double kSkin = 0.01;  // of a cell: what is moved into it stays so far from its sides
  const uint16_t least_half = to_half(supported);  // halves are in order
  auto tile_of = [&](int64_t number) {
    const int64_t at = std::lower_bound(numbers, numbers + n, number) - numbers;
    return at < n && numbers[at] == number ? at : n;
  };
  auto beyond = [](int at) { return at < 0 ? -1 : at >= kEdge ? 1 : 0; };  // on which side of a tile
  auto tile_step = [](int axis, int steps) { return steps * (int64_t(1) << (2 - axis) * kBits); };
  struct Place {
    int64_t tile;
    int at[3];
    Sure::Voxel voxel;
  };
  std::vector<Rows> rows;
  std::vector<Sure> sure(n);
  std::vector<Place> places;
  for (int64_t t = 0; t < n; ++t) {
    const Tile tile{tiles + t * kColumns};
    const uint16_t *cells = tile.at<uint16_t>(kCells, 0), *confidence = tile.at<uint16_t>(kConfidence, 0);
    rows.emplace_back(cells, sizes[t]);
    for (int64_t row = 0; row < sizes[t]; ++row) {
      if (confidence[row] < least_half || (leave[t] && leave[t][row])) continue;
      const uint8_t* at = corners + 3 * cells[row];
      const float* point = tile.at<float>(kPoints, row, 3);
      int side[3], sides = 0;  // of the tile, that it lies at
      for (int axis = 0; axis < 3; ++axis) {
        side[axis] = at[axis] == 0 ? -1 : at[axis] == kEdge - 1;
        sides |= (side[axis] != 0) << axis;
      }
      for (int some = sides;; some = (some - 1) & sides) {  // and of the tiles there it is right beside
        int64_t number = numbers[t];
        Place place{t, {}, {{point[0], point[1], point[2]}, from_half(confidence[row])}};
        for (int axis = 0; axis < 3; ++axis) {
          const int step = some >> axis & 1 ? side[axis] : 0;
          number += tile_step(axis, step), place.at[axis] = at[axis] - step * kEdge;
        }
        if (some) place.tile = tile_of(number);
        if (place.tile < n) {
          sure[place.tile].set(place.at[0], place.at[1], place.at[2]);
          places.push_back(place);
        }
        if (!some) break;
      }
    }
  }
  for (Sure& s : sure) s.count();
  for (const Place& p : places) sure[p.tile].voxels[sure[p.tile].of(Sure::bar(p.at[0], p.at[1]), p.at[2])] = p.voxel;
  int64_t count = 0, t = 0, last = -1;
  struct Known {
    int step[3];
    const Sure::Voxel* voxel;
  };
  std::vector<Known> around;  // the sure voxels around the last point's cell, which many points share
  float least = supported;
  for (int64_t k = 0; k < m; ++k) {
    if (!may_join[k]) continue;
    float* const x = points + 3 * k;
    const int64_t number = keys[k] >> 16, cell = keys[k] & 0xffff;
    const uint8_t* at = corners + 3 * cell;
    if (keys[k] != last) {
      if (last >> 16 != number) t = tile_of(number);
      last = keys[k], least = supported;
      around.clear();
      if (t == n || sure[t].holds(at[0], at[1], at[2])) continue;
      for (int i = -1; i < 2; ++i)
        for (int j = -1; j < 2; ++j) {
          const int bar = Sure::bar(at[0] + i, at[1] + j), three = int(sure[t].bars[bar] >> at[2] & 7);
          if (!three) continue;
          const Sure::Voxel* voxel = &sure[t].voxels[sure[t].of(bar, at[2] - 1)];
          for (int l = -1; l < 2; ++l)
            if (three >> (l + 1) & 1) around.push_back({{i, j, l}, voxel++});
        }
      const int64_t own = around.empty() ? -1 : rows[t].of(cell);
      if (own >= 0 && !(leave[t] && leave[t][own]))
        least = std::max(least, ratio * from_half(*Tile{tiles + t * kColumns}.at<uint16_t>(kConfidence, own)));
    }
    double nearest = reach * reach;
    const Known* found = nullptr;
    for (const Known& known : around) {
      if (known.voxel->confidence < least) continue;
      double square = 0;
      for (int axis = 0; axis < 3; ++axis)
        square += (double(known.voxel->point[axis]) - x[axis]) * (double(known.voxel->point[axis]) - x[axis]);
      if (square < nearest) nearest = square, found = &known;
    }
    if (!found) continue;
    ++count;
    int64_t its = number, there = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const int step = found->step[axis], over = beyond(at[axis] + step);
      its += tile_step(axis, over), there += shares[axis * kEdge + at[axis] + step - over * kEdge];
      const int64_t cells = ((number >> (2 - axis) * kBits & kMask) - kHalf) * kEdge + at[axis] + step;
      x[axis] = float(std::clamp(double(x[axis]), (cells + kSkin) * size, (cells + 1 - kSkin) * size));
    }
    keys[k] = its << 16 | there;
  }
  return count;
}

// What comes, with what was there: fills the new tiles. Pixels (points, colors, features, confidence, anchors) and after
// them voxels that have moved (a tile without cells) come, by `order`; into cell g rows order[starts[g]] to starts[g + 1].
// Means are weighted by confidence, of which no more than most_weight counts for what was there. A voxel that meets
// nothing stays as it is. The surest voxel tells the anchor, before pixels do. → anchors_of: of each cell; news: 0 if the
// cell's anchor stays, 1 if it has come, 2 if the cell is new and no voxel came.
WIDE int64_t settle(int64_t n, char* const* old_tiles, char* const* new_tiles, const int64_t* sizes,
               const uint8_t* const* leave, const int64_t* bounds, const uint16_t* cells, const int32_t* at,
               const int32_t* held, int64_t dim, const int64_t* order, const int64_t* starts, int64_t pixels,
               const float* points, const uint8_t* colors, const float* features, const float* confidence,
               const int32_t* anchors, char* const* moved, float most_weight, uint64_t seed, int32_t* anchors_of,
               uint8_t* news) {
  constexpr int64_t kAhead = 16;  // pixels come in any order: the memory is asked for those so far on
  const int64_t bytes[kColumns] = {2, 12, 3, dim, 2, 2, 2, 4};
  const Tile come{moved};
  Dice dice{seed};
  std::vector<float> feature(dim);
  for (int64_t t = 0; t < n; ++t) {
    const Tile from{old_tiles + t * kColumns}, to{new_tiles + t * kColumns};
    int64_t out = 0, first = 0, g = bounds[t];
    for (int64_t row = 0; row <= sizes[t]; ++row) {  // rows stay in runs, between those that go and those that come
      const bool end = row == sizes[t], gone = !end && leave[t] && leave[t][row];
      const int64_t here = out + row - first;
      const bool comes = g < bounds[t + 1] && held[g] < 0 && at[g] == here && !gone;
      if (end || gone || comes) {
        copy(from, first, to, out, row - first, bytes);
        out = here, first = row + gone;
        while (!gone && g < bounds[t + 1] && held[g] < 0 && at[g] == out) ++out, ++g;
      }
      if (!end && g < bounds[t + 1] && held[g] == row) ++g;
    }
    for (g = bounds[t]; g < bounds[t + 1]; ++g) {
      const int64_t ahead = order[std::min(starts[g] + kAhead, starts[bounds[n]] - 1)];
      if (ahead < pixels) __builtin_prefetch(features + ahead * dim), __builtin_prefetch(points + 3 * ahead);
      const int64_t row = at[g], count = starts[g + 1] - starts[g], one = order[starts[g]] - pixels;
      *to.at<uint16_t>(kCells, row) = cells[g];
      if (count == 1 && one >= 0 && held[g] < 0) {
        for (int c = kPoints; c < kColumns; ++c)
          std::memcpy(to.columns[c] + row * bytes[c], come.columns[c] + one * bytes[c], bytes[c]);
        anchors_of[g] = *come.at<int32_t>(kAnchors, one), news[g] = 1;
        continue;
      }
      double weight = 0, point[3] = {}, color[3] = {};
      float claim = -1;
      int64_t hits = 0;
      int32_t anchor = 0;
      std::fill(feature.begin(), feature.end(), 0.0f);
      for (int64_t k = starts[g]; k < starts[g + 1]; ++k) {
        const int64_t pixel = order[k], voxel = pixel - pixels;
        const bool seen = voxel < 0;
        const float w = seen ? confidence[pixel] : std::max(from_half(*come.at<uint16_t>(kConfidence, voxel)), 1e-3f);
        const float* x = seen ? points + 3 * pixel : come.at<float>(kPoints, voxel, 3);
        const uint8_t* rgb = seen ? colors + 3 * pixel : come.at<uint8_t>(kColors, voxel, 3);
        const int32_t its = seen ? anchors[pixel] : *come.at<int32_t>(kAnchors, voxel);
        const float sure = seen ? 0 : w;
        for (int axis = 0; axis < 3; ++axis) point[axis] += double(w) * x[axis], color[axis] += double(w) * rgb[axis];
        if (seen) {
          const float* f = features + pixel * dim;
          for (int64_t d = 0; d < dim; ++d) feature[d] += w * f[d];
        } else {
          const int8_t* code = come.at<int8_t>(kCodes, voxel, dim);
          const float scale = w * from_half(*come.at<uint16_t>(kScales, voxel));
          for (int64_t d = 0; d < dim; ++d) feature[d] += scale * code[d];
        }
        hits += seen ? 1 : *come.at<uint16_t>(kHits, voxel);
        if (sure > claim || (sure == claim && its < anchor)) claim = sure, anchor = its;
        weight += w;
      }
      float share = 1, before = 0, scale = 0;  // of what comes; of the held feature's code
      if (held[g] >= 0) {
        before = from_half(*from.at<uint16_t>(kConfidence, held[g]));
        const float mine = std::min(float(weight), most_weight);
        share = mine / (std::min(before, most_weight) + mine);
        scale = (1 - share) * from_half(*from.at<uint16_t>(kScales, held[g]));
        hits += *from.at<uint16_t>(kHits, held[g]);
        const int32_t its = *from.at<int32_t>(kAnchors, held[g]);
        if (claim <= before) anchor = its;
        news[g] = anchor != its;
      } else {
        news[g] = claim > 0 ? 1 : 2;
      }
      const double part = share / weight;
      for (int axis = 0; axis < 3; ++axis) {
        double x = part * point[axis], rgb = part * color[axis];
        if (held[g] >= 0) {
          x += (1 - share) * from.at<float>(kPoints, held[g], 3)[axis];
          rgb += (1 - share) * from.at<uint8_t>(kColors, held[g], 3)[axis];
        }
        to.at<float>(kPoints, row, 3)[axis] = float(x);
        to.at<uint8_t>(kColors, row, 3)[axis] = uint8_t(std::clamp(std::floor(rgb + dice.next()), 0.0, 255.0));
      }
      float largest = 0;
      const int8_t* code = held[g] >= 0 ? from.at<int8_t>(kCodes, held[g], dim) : nullptr;
      for (int64_t d = 0; d < dim; ++d) feature[d] = float(part) * feature[d] + (code ? scale * code[d] : 0);
      for (int64_t d = 0; d < dim; ++d) largest = std::max(largest, std::abs(feature[d]));
      const uint16_t step = largest > 0 ? to_half(largest / kLevels) + 1 : 0;  // never too small
      const float inverse = step ? 1 / from_half(step) : 0;
      for (int64_t d = 0; d < dim; ++d)
        to.at<int8_t>(kCodes, row, dim)[d] = int8_t(std::floor(feature[d] * inverse + dice.next()));
      *to.at<uint16_t>(kScales, row) = step;
      *to.at<uint16_t>(kConfidence, row) = to_half(std::min(before + float(weight), kMaxConfidence));
      *to.at<uint16_t>(kHits, row) = uint16_t(std::min<int64_t>(hits, kMostHits));
      *to.at<int32_t>(kAnchors, row) = anchors_of[g] = anchor;
    }
  }
  return n;
}

// What a look says of the voxels of n tiles, see Look.faded (sab3r_ros/mapping/fading.py). T: (3, 4) to the camera's frame;
// camera: focal lengths and centre. Fills the new confidences, `changed` and `gone`, how many of each tile are.
int64_t faded(int64_t n, char* const* tiles, const int64_t* sizes, const float* T, const float* camera, const float* depth, int64_t h, int64_t w, float margin, float pixels,
              float doubt, float believed, float most_weight, float least, uint16_t* const* left, int64_t* changed,
              int64_t* gone) {
  for (int64_t t = 0; t < n; ++t) {
    const Tile tile{tiles + t * kColumns};
    const uint16_t* confidence = tile.at<uint16_t>(kConfidence, 0);
    changed[t] = gone[t] = 0;
    for (int64_t k = 0; k < sizes[t]; ++k) {
      const float* p = tile.at<float>(kPoints, k, 3);
      left[t][k] = confidence[k];
      const float z = T[8] * p[0] + T[9] * p[1] + T[10] * p[2] + T[11];
      if (z <= 1e-6f) continue;
      const float u = (T[0] * p[0] + T[1] * p[1] + T[2] * p[2] + T[3]) / z * camera[0] + camera[2];
      const float v = (T[4] * p[0] + T[5] * p[1] + T[6] * p[2] + T[7]) / z * camera[1] + camera[3];
      if (!(u > -0.5f && u < w - 0.5f && v > -0.5f && v < h - 0.5f)) continue;
      const float surface = depth[int64_t(v + 0.5f) * w + int64_t(u + 0.5f)];
      if (surface <= 0 || z > surface * (1 + margin)) continue;
      float sure = from_half(confidence[k]);
      if (z < surface * (1 - margin)) {
        sure = std::min(sure, most_weight) / 2;
      } else if (sure < believed) {
        sure *= 1 - doubt * std::min(pixels / (z * z), 1.0f);
      } else {
        continue;
      }
      left[t][k] = to_half(sure);
      ++changed[t];
      gone[t] += sure < least;
    }
  }
  return n;
}

}  // extern "C"
