// Cells as a graph: which touch, how evidence flows between them, which parts of them stand out. All arrays are the
// caller's (sab3r_ros/querying/compiled.py), contiguous; what a function fills is large enough for its most.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "wide.h"

namespace {

constexpr int64_t kStepY = int64_t(1) << 21, kStepX = kStepY << 21;  // to the next number in y and x (cells.py)
constexpr double kLogitSteps = 1 << 20;

struct Forest {  // union-find, halving paths
  std::vector<int32_t> parent;
  explicit Forest(int64_t n) : parent(n) { std::iota(parent.begin(), parent.end(), 0); }
  int32_t root(int32_t k) {
    while (parent[k] != k) k = parent[k] = parent[parent[k]];
    return k;
  }
  void join(int32_t a, int32_t b) {
    a = root(a), b = root(b);
    if (a != b) parent[std::max(a, b)] = std::min(a, b);
  }
};

// Calls found(i, j) for each pair of cells that touch, corners included, once. A column's three neighbours follow each
// other, and so do the places of rising numbers: one walk along the array for each of five columns.
template <class Found>
void each_pair(const int64_t* numbers, int64_t n, Found found) {
  for (int64_t i = 1; i < n; ++i)
    if (numbers[i] - numbers[i - 1] == 1) found(int32_t(i - 1), int32_t(i));
  for (int64_t step : {kStepY, kStepX - kStepY, kStepX, kStepX + kStepY}) {
    int64_t place = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t middle = numbers[i] + step;
      while (place < n && numbers[place] < middle - 1) ++place;
      for (int64_t k = place; k < n && numbers[k] <= middle + 1; ++k) found(int32_t(i), int32_t(k));
    }
  }
}

inline __attribute__((always_inline)) int32_t whole_dot(const int8_t* code, const int16_t* direction, int64_t dim) {
  int32_t sum = 0;
  for (int64_t k = 0; k < dim; ++k) {
    const int16_t c = code[k];
    sum += c * direction[k];
  }
  return sum;
}

constexpr int kLanes = 8, kBatch = 512, kSketch = 8, kAhead = 16, kFewRows = 8192;
typedef float Floats __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t Wholes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline __attribute__((always_inline)) float dot(const float* code, const float* direction, int64_t dim) {
  Floats lanes = {};
  for (int64_t k = 0; k < dim; k += kLanes) lanes += *(const Floats*)(code + k) * *(const Floats*)(direction + k);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

// exp to float32's precision: 2 ** whole by its bits, the rest by its series. There is room for a multiple of kLanes.
inline __attribute__((always_inline)) void exponentials(float* values, int64_t n) {
  for (int64_t k = 0; k < n; k += kLanes) {
    Floats x = *(Floats*)(values + k);
    x = x < -87.f ? x * 0 - 87.f : x > 88.f ? x * 0 + 88.f : x;
    const Floats whole = (x * 1.44269504f + 12582912.f) - 12582912.f;  // 1.5 · 2 ** 23 rounds what it is added to
    const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats sum = x * 0 + 1.f / 5040;
    for (float factor : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f}) sum = sum * rest + factor;
    const Wholes bits = (__builtin_convertvector(whole, Wholes) + 127) << 23;
    *(Floats*)(values + k) = sum * (Floats)bits;
  }
}

int64_t coordinate(int64_t number, int axis) {  // in cells
  return ((number >> (21 * (2 - axis))) & ((1 << 21) - 1)) - (1 << 20);
}

// The numbers, rising, of the cells 2 ** halvings as long that hold cells (n), and which of them holds each.
std::vector<int64_t> held_by(const int64_t* numbers, int64_t n, int64_t halvings, int32_t* holder) {
  uint64_t mask = 1;
  while (mask < uint64_t(2 * n)) mask *= 2;
  std::vector<int32_t> table(mask--, -1);
  std::vector<std::pair<int64_t, int32_t>> found;
  for (int64_t i = 0; i < n; ++i) {
    int64_t number = 0;
    for (int axis = 0; axis < 3; ++axis) {
      number = (number << 21) + (coordinate(numbers[i], axis) >> halvings) + (1 << 20);
    }
    if (i && found[holder[i - 1]].first == number) {
      holder[i] = holder[i - 1];
      continue;
    }
    uint64_t place = (uint64_t(number) * 0x9E3779B97F4A7C15u >> 20) & mask;  // Fibonacci hashing
    while (table[place] >= 0 && found[table[place]].first != number) place = (place + 1) & mask;
    if (table[place] < 0) {
      table[place] = int32_t(found.size());
      found.emplace_back(number, table[place]);
    }
    holder[i] = table[place];
  }
  std::sort(found.begin(), found.end());
  std::vector<int64_t> out(found.size());
  std::vector<int32_t> rank(found.size());
  for (size_t k = 0; k < found.size(); ++k) out[k] = found[k].first, rank[found[k].second] = int32_t(k);
  for (int64_t i = 0; i < n; ++i) holder[i] = rank[holder[i]];
  return out;
}

// Which voxels lie in which cells, of blocks: cell c holds rows[first[c]] to rows[first[c + 1]] of its block, the surest
// first; block k has the cells from own[k] to own[k + 1].
template <class Row>
struct Cells {
  const int32_t *first, *own;
  int64_t blocks;
  const Row* rows;
  int64_t block_of(int64_t cell) const { return std::upper_bound(own, own + blocks, cell) - own - 1; }
};

// Calls told(block, row, k) for each voxel of some cells (n, rising), in the order of a map whose blocks start at starts: row
// of its block, which lies in the k-th of them. A row is in one cell only.
template <class Row, class Told>
void each_row(const int32_t* cells, int64_t n, const Cells<Row>& all, const int64_t* starts, Told told) {
  const auto [first, own, blocks, rows] = all;
  struct Run {
    int64_t block, from, to;  // the places of a block's cells
  };
  std::vector<Run> runs;
  for (int64_t k = 0; k < n;) {
    const int64_t block = all.block_of(cells[k]), from = k;
    while (k < n && cells[k] < own[block + 1]) ++k;
    runs.push_back({block, from, k});
  }
  std::sort(runs.begin(), runs.end(), [=](const Run& a, const Run& b) { return starts[a.block] < starts[b.block]; });
  std::vector<int32_t> here;  // of a block's rows from `low` on: one more than the place of the cell that holds it
  for (const Run& run : runs) {
    int64_t low = 0, high = first[own[run.block + 1]] - first[own[run.block]] - 1;  // all its rows, if they are few
    if (high >= kFewRows) {
      low = INT32_MAX, high = -1;
      for (int64_t k = run.from; k < run.to; ++k)
        for (int64_t r = first[cells[k]]; r < first[cells[k] + 1]; ++r)
          low = std::min<int64_t>(low, rows[r]), high = std::max<int64_t>(high, rows[r]);
    }
    here.assign(std::max<int64_t>(0, high - low + 1), 0);
    for (int64_t k = run.from; k < run.to; ++k)
      for (int64_t r = first[cells[k]]; r < first[cells[k] + 1]; ++r) here[rows[r] - low] = int32_t(k) + 1;
    for (size_t r = 0; r < here.size(); ++r)
      if (here[r]) told(run.block, low + int64_t(r), here[r] - 1);
  }
}

// Rows of the map, out, of the voxels in some cells, and which of these each lies in. Returns how many.
template <class Row>
int64_t rows_in(const int32_t* cells, int64_t n, const Cells<Row>& all, const int64_t* starts, int64_t* out,
                int32_t* cell) {
  int64_t count = 0;
  each_row(cells, n, all, starts, [&](int64_t block, int64_t row, int32_t k) {
    out[count] = starts[block] + row, cell[count++] = k;
  });
  return count;
}

// Their rows (count) and, of `some` of them, spread evenly, the points (some, 3), the confidence (some; floats of 16 bits),
// and which cell each lies in. points, confidences: where those of each block lie. Returns count.
template <class Row>
int64_t thing_in(const int32_t* cells, int64_t n, const Cells<Row>& all, const int64_t* starts,
                 const float* const* points, const uint16_t* const* confidences, int64_t count, int64_t some,
                 int64_t* out, float* point, uint16_t* confidence, int32_t* cell) {
  int64_t at = 0, next = 0;
  each_row(cells, n, all, starts, [&](int64_t block, int64_t row, int32_t k) {
    if (next < some && (at + 1) * some > next * count) {  // the next one is at next * count / some
      std::copy_n(points[block] + 3 * row, 3, point + 3 * next);
      confidence[next] = confidences[block][row], cell[next++] = k;
    }
    out[at++] = starts[block] + row;
  });
  return at;
}

// Of some cells (n, rising), cell_m long: their numbers, as cells.py computes them; how many voxels they hold, count (n), and
// the mean colours of these, mean (n, 3). points, colors: where those of each block lie.
template <class Row>
int64_t looks_of(const int32_t* cells, int64_t n, Cells<Row> all, const float* const* points,
                 const uint8_t* const* colors, float cell_m, int64_t* numbers, int64_t* count, uint8_t* mean) {
  int64_t block = 0, block_ahead = 0;
  for (int64_t k = 0; k < n; ++k) {
    if (k + kAhead < n) {  // they lie anywhere in their blocks
      const int32_t ahead = cells[k + kAhead];
      if (ahead >= all.own[block_ahead + 1]) block_ahead = all.block_of(ahead);
      const int64_t row = all.rows[all.first[ahead]];
      __builtin_prefetch(points[block_ahead] + 3 * row), __builtin_prefetch(colors[block_ahead] + 3 * row);
    }
    if (cells[k] >= all.own[block + 1]) block = all.block_of(cells[k]);
    const int64_t begin = all.first[cells[k]], end = all.first[cells[k] + 1];
    const float* point = points[block] + 3 * int64_t(all.rows[begin]);
    int64_t number = 0, sums[3] = {};
    for (int c = 0; c < 3; ++c) {
      const float place = point[c] / cell_m;
      const int64_t whole = int64_t(place);
      number = (number << 21) + whole - (place < float(whole)) + (1 << 20);  // rounded down: quicker than std::floor
    }
    for (int64_t r = begin; r < end; ++r)
      for (int c = 0; c < 3; ++c) sums[c] += colors[block][3 * int64_t(all.rows[r]) + c];
    numbers[k] = number, count[k] = end - begin;
    for (int c = 0; c < 3; ++c) mean[3 * k + c] = uint8_t((2 * sums[c] + end - begin) / (2 * (end - begin)));
  }
  return n;
}

// Sums of the products of kLanes sketches (8 bytes each) with weights: a sketch is two words, taken apart byte by byte.
inline __attribute__((always_inline)) void products(const int8_t* sketch, const float* weights, Floats& sums) {
  Floats half[2] = {};  // of each sketch the sums of both words
  for (int h = 0; h < 2; ++h) {
    const Wholes words = *(const Wholes*)(sketch + 4 * kLanes * h);
    for (int byte = 0; byte < 4; ++byte) {
      const float a = weights[byte], b = weights[4 + byte];
      half[h] += __builtin_convertvector((words << (24 - 8 * byte)) >> 24, Floats) * Floats{a, b, a, b, a, b, a, b};
    }
  }
  sums = __builtin_shuffle(half[0], half[1], Wholes{0, 2, 4, 6, 8, 10, 12, 14}) +
         __builtin_shuffle(half[0], half[1], Wholes{1, 3, 5, 7, 9, 11, 13, 15});
}

// What is known of all cells beside their voxels. codes: where those of each block lie (a row: dim), null if it is passed
// over; a cell has its surest voxel's. gain times a code is a feature whose product with a direction is a logit; competition
// is the logarithm of the pool's sum, top its likeliest noun; sketch (8) gives a bound of every logit.
struct Known {
  const int8_t* const* codes;
  int64_t dim;
  const float *gain, *competition;
  const uint8_t* top;
  const int8_t* sketch;
};

// A query: whole (dim) times step is its direction, rounded; a logit is at most a sketch times brief (8) and slack.
struct Query {
  const int16_t* whole;
  float step;
  const float* brief;
  float slack;
};

// Most that the query's logit less the competition can be, of cells begin to end.
inline __attribute__((always_inline)) void at_most(const Known& known, const Query& query, int64_t begin, int64_t end,
                                                   float* most) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    Floats sums;
    products(known.sketch + kSketch * i, query.brief, sums);
    *(Floats*)(most + i - begin) = sums + query.slack - *(const Floats*)(known.competition + i);
  }
  for (; i < end; ++i) {
    float sum = query.slack - known.competition[i];
    for (int k = 0; k < kSketch; ++k) sum += known.sketch[kSketch * i + k] * query.brief[k];
    most[i - begin] = sum;
  }
}

inline __attribute__((always_inline)) float rank_of(const Known& known, const Query& query, const int8_t* code, int64_t i) {
  return whole_dot(code, query.whole, known.dim) * (query.step * known.gain[i]) - known.competition[i];
}

// The cells whose share of the softmax reaches `least`, and their shares. directions (1 + rivals + removed, padded: dim and
// zeros to a multiple of 8): of the query, of phrases beside the pool and of the pool's nouns that do not compete. taken (256):
// which nouns those are. Cells whose logit less the competition is under `bound` are no candidates unless their likeliest noun
// is taken. Returns how many.
template <class Row>
inline __attribute__((always_inline)) int64_t likely_of(const Cells<Row>& all, const Known& known, const Query& query,
                                                        const float* directions, int64_t padded, int64_t rivals,
                                                        int64_t removed, const uint8_t* taken, float bound, float least,
                                                        float least_rest, int32_t* cells, float* shares) {
  const int64_t many = 1 + rivals + removed, dim = known.dim;
  std::vector<const int8_t*> codes;
  float most[kBatch];
  int64_t possible = 0;  // what passes is written over `cells`, which is ahead of what is read
  for (int64_t block = 0; block < all.blocks; ++block) {
    for (int64_t begin = all.own[block]; known.codes[block] && begin < all.own[block + 1]; begin += kBatch) {
      const int64_t end = std::min<int64_t>(all.own[block + 1], begin + kBatch), before = possible;
      at_most(known, query, begin, end, most);
      for (int64_t i = begin; i < end; ++i) {
        cells[possible] = int32_t(i);
        possible += (most[i - begin] >= bound) | taken[known.top[i]];
      }
      for (int64_t c = before; c < possible; ++c)
        codes.push_back(known.codes[block] + dim * int64_t(all.rows[all.first[cells[c]]]));
    }
  }
  std::vector<float> feature(padded, 0.f), part(many * kBatch);
  const int8_t* code[kBatch];
  int64_t count = 0, found = 0, start = 0;  // cells before `count` are told, from `start` on `found` wait
  for (int64_t c = 0; c < possible || found; ++c) {
    if (c < possible) {
      if (c + kAhead < possible)  // it lies anywhere in its block
        for (int64_t byte : {int64_t(0), dim - 1}) __builtin_prefetch(codes[c + kAhead] + byte);
      const int32_t i = cells[c];
      code[found] = codes[c], cells[start + found] = i;
      found += (rank_of(known, query, codes[c], i) >= bound) | taken[known.top[i]];
      if (found < kBatch && c + 1 < possible) continue;
    }
    for (int64_t k = 0; k < found; ++k) {
      const int32_t i = cells[start + k];
      for (int64_t d = 0; d < dim; ++d) feature[d] = known.gain[i] * code[k][d];
      for (int64_t p = 0; p < many; ++p)
        part[p * kBatch + k] = dot(feature.data(), directions + p * padded, padded) - known.competition[i];
    }
    for (int64_t p = 0; p < many; ++p) exponentials(&part[p * kBatch], found);
    for (int64_t k = 0; k < found; ++k) {
      float gone = 0, beside = 0;
      for (int64_t p = 1; p < many; ++p) (p <= rivals ? beside : gone) += part[p * kBatch + k];
      const float own = part[k], sum = own + std::max(1 - gone, least_rest) + beside;
      cells[count] = cells[start + k], shares[count] = own / sum;
      count += own >= least * sum;
    }
    start = count, found = 0;
  }
  return count;
}

// The `wanted` cells whose logit less the competition is largest, in any order. Returns how many there are.
template <class Row>
inline __attribute__((always_inline)) int64_t nearest_of(const Cells<Row>& all, const Known& known, const Query& query,
                                                         int64_t wanted, int32_t* cells) {
  std::vector<std::pair<float, int32_t>> best;  // a heap, the least of them in front
  float most[kBatch];
  for (int64_t block = 0; block < all.blocks; ++block) {
    for (int64_t begin = all.own[block]; known.codes[block] && begin < all.own[block + 1]; begin += kBatch) {
      const int64_t end = std::min<int64_t>(all.own[block + 1], begin + kBatch);
      at_most(known, query, begin, end, most);
      for (int64_t i = begin; i < end; ++i) {
        const bool full = int64_t(best.size()) == wanted;
        if (full && most[i - begin] <= best.front().first) continue;
        const int8_t* code = known.codes[block] + known.dim * int64_t(all.rows[all.first[i]]);
        const float rank = rank_of(known, query, code, i);
        if (full && rank <= best.front().first) continue;
        if (full) std::pop_heap(best.begin(), best.end(), std::greater<>()), best.pop_back();
        best.emplace_back(rank, int32_t(i));
        std::push_heap(best.begin(), best.end(), std::greater<>());
      }
    }
  }
  for (size_t k = 0; k < best.size(); ++k) cells[k] = best[k].second;
  return best.size();
}

}  // namespace

extern "C" {

// Cells (n) by the larger ones, 2 ** halvings as long, that hold them. Fills these cells' numbers, rising; which cells each
// holds, order (n) from start (their count and one) on; and of each the sums of voxels and of voxels times logits, and the
// voxels' mean colour. Returns how many. Logits count in steps of 2^-20, so that all sums are exact, in whatever order.
int64_t grouped(const int64_t* numbers, int64_t n, int64_t halvings, const int64_t* voxels, const float* logits,
                const uint8_t* colors, int64_t* large, int32_t* order, int64_t* start, double* count, double* logit,
                float* rgb) {
  std::vector<int32_t> group(n);
  const std::vector<int64_t> found = held_by(numbers, n, halvings, group.data());
  const int64_t m = found.size();
  std::copy(found.begin(), found.end(), large);
  std::vector<int64_t> sums(3 * m, 0);
  std::fill(count, count + m, 0.), std::fill(logit, logit + m, 0.);
  std::fill(start, start + m + 1, 0);
  for (int64_t i = 0; i < n; ++i) {
    const int32_t k = group[i];
    const double v = double(voxels[i]);
    ++start[k + 1], count[k] += v, logit[k] += v * std::nearbyint(double(logits[i]) * kLogitSteps) / kLogitSteps;
    for (int c = 0; c < 3; ++c) sums[3 * k + c] += voxels[i] * int64_t(colors[3 * i + c]);
  }
  std::partial_sum(start, start + m + 1, start);
  std::vector<int64_t> end(start, start + m);
  for (int64_t i = 0; i < n; ++i) order[end[group[i]]++] = int32_t(i);
  for (int64_t k = 0; k < m; ++k)
    for (int c = 0; c < 3; ++c) rgb[3 * k + c] = float(double(sums[3 * k + c]) / count[k]);
  return m;
}

// For rows of 16 and of 32 bits.
#define FOR_ROWS(BITS, Row)                                                                                            \
  int64_t rows_in_##BITS(const int32_t* cells, int64_t n, const int32_t* first, const int32_t* own, int64_t blocks,    \
                         const Row* rows, const int64_t* starts, int64_t* out, int32_t* cell) {                        \
    return rows_in<Row>(cells, n, {first, own, blocks, rows}, starts, out, cell);                                      \
  }                                                                                                                    \
  int64_t thing_in_##BITS(const int32_t* cells, int64_t n, const int32_t* first, const int32_t* own, int64_t blocks,   \
                          const Row* rows, const int64_t* starts, const float* const* points,                          \
                          const uint16_t* const* confidences, int64_t count, int64_t some, int64_t* out, float* point, \
                          uint16_t* confidence, int32_t* cell) {                                                       \
    return thing_in<Row>(cells, n, {first, own, blocks, rows}, starts, points, confidences, count, some, out, point,   \
                         confidence, cell);                                                                            \
  }                                                                                                                    \
  int64_t looks_of_##BITS(const int32_t* cells, int64_t n, const int32_t* first, const int32_t* own, int64_t blocks,   \
                          const Row* rows, const float* const* points, const uint8_t* const* colors, float cell_m,     \
                          int64_t* numbers, int64_t* count, uint8_t* mean) {                                           \
    return looks_of<Row>(cells, n, {first, own, blocks, rows}, points, colors, cell_m, numbers, count, mean);          \
  }                                                                                                                    \
  WIDE int64_t likely_of_##BITS(                                                                                       \
      const int8_t* const* codes, const int32_t* first, const int32_t* own, int64_t blocks, const Row* rows,           \
      int64_t dim, const float* gain, const float* competition, const uint8_t* top, const int8_t* sketch,              \
      const int16_t* whole, float step, const float* brief, float slack, const float* directions, int64_t padded,      \
      int64_t rivals, int64_t removed, const uint8_t* taken, float bound, float least, float least_rest,               \
      int32_t* cells, float* shares) {                                                                                 \
    return likely_of<Row>({first, own, blocks, rows}, {codes, dim, gain, competition, top, sketch},                    \
                          {whole, step, brief, slack}, directions, padded, rivals, removed, taken, bound, least,       \
                          least_rest, cells, shares);                                                                  \
  }                                                                                                                    \
  WIDE int64_t nearest_of_##BITS(                                                                                      \
      const int8_t* const* codes, const int32_t* first, const int32_t* own, int64_t blocks, const Row* rows,           \
      int64_t dim, const float* gain, const float* competition, const uint8_t* top, const int8_t* sketch,              \
      const int16_t* whole, float step, const float* brief, float slack, int64_t wanted, int32_t* cells) {             \
    return nearest_of<Row>({first, own, blocks, rows}, {codes, dim, gain, competition, top, sketch},                   \
                           {whole, step, brief, slack}, wanted, cells);                                                \
  }

FOR_ROWS(16, uint16_t)
FOR_ROWS(32, int32_t)

// Connected pieces of points (n, 3), joined where their cells of cell_m touch, corners included: piece (n). Returns how many.
int64_t pieces_of(const double* points, int64_t n, double cell_m, int32_t* piece) {
  std::vector<int64_t> numbers(n);
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c)
      numbers[i] = (numbers[i] << 21) + int64_t(std::floor(points[3 * i + c] / cell_m)) + (1 << 20);
  const std::vector<int64_t> cells = held_by(numbers.data(), n, 0, piece);
  Forest forest(cells.size());
  each_pair(cells.data(), cells.size(), [&](int32_t i, int32_t j) { forest.join(i, j); });
  std::vector<int32_t> number(cells.size());
  int32_t count = 0;
  for (size_t k = 0; k < cells.size(); ++k) {
    const int32_t root = forest.root(int32_t(k));  // the piece's first cell
    number[k] = root == int32_t(k) ? count++ : number[root];
  }
  for (int64_t i = 0; i < n; ++i) piece[i] = number[piece[i]];
  return count;
}

// Values (n) after rounds of averaging with the cells that touch; a neighbour counts e times less for each `width` that
// its colour, lab (n, 3), is away.
void smoothed(const int64_t* numbers, int64_t n, const float* lab, float width, int64_t rounds, float* values) {
  std::vector<int32_t> a, b, degree(n, 0);
  std::vector<float> weight, total(n, 1.f);
  a.reserve(8 * n), b.reserve(8 * n), weight.reserve(8 * n);
  each_pair(numbers, n, [&](int32_t i, int32_t j) {
    float square = 0;
    for (int c = 0; c < 3; ++c) square += (lab[3 * i + c] - lab[3 * j + c]) * (lab[3 * i + c] - lab[3 * j + c]);
    a.push_back(i), b.push_back(j), weight.push_back(-std::sqrt(square) / width);
    ++degree[i], ++degree[j];
  });
  const int64_t pairs = a.size();
  weight.resize((pairs + kLanes - 1) / kLanes * kLanes);
  exponentials(weight.data(), weight.size());
  for (int64_t k = 0; k < pairs; ++k) total[a[k]] += weight[k], total[b[k]] += weight[k];
  for (float& t : total) t = 1 / t;
  // Cells with as many neighbours follow each other: the loop over them is as long each time, and so is well foreseen.
  constexpr int kMost = 26;
  std::vector<int64_t> ends(kMost + 2, 0), first(n);
  for (int32_t d : degree) ++ends[d + 1];
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<int32_t> cell(n), place(n);
  std::vector<int64_t> next(ends);
  for (int64_t i = 0; i < n; ++i) cell[place[i] = int32_t(next[degree[i]]++)] = int32_t(i);
  for (int64_t r = 1; r < n; ++r) first[r] = first[r - 1] + degree[cell[r - 1]];
  struct Flow {
    int32_t source;
    float share;
  };
  std::vector<Flow> flow(2 * pairs);
  for (int64_t k = 0; k < pairs; ++k) {
    flow[first[place[a[k]]]++] = {place[b[k]], weight[k] * total[a[k]]};
    flow[first[place[b[k]]]++] = {place[a[k]], weight[k] * total[b[k]]};
  }
  std::vector<float> now(n), then(n), own(n);
  for (int64_t r = 0; r < n; ++r) now[r] = values[cell[r]], own[r] = total[cell[r]];
  for (int64_t round = 0; round < rounds; ++round) {
    const Flow* in = flow.data();
    for (int d = 0; d <= kMost; ++d)
      for (int64_t r = ends[d]; r < ends[d + 1]; ++r, in += d) {
        float sum = own[r] * now[r];
        for (int k = 0; k < d; ++k) sum += in[k].share * now[in[k].source];
        then[r] = sum;
      }
    now.swap(then);
  }
  for (int64_t r = 0; r < n; ++r) values[cell[r]] = now[r];
}

// Connected parts of each level of cells (n), the highest level first. order (n): the surest first, value of each. Cells in
// blocks, 2 ** halvings as long, that touch and reach a level both are one part. A part is told if it holds `least` voxels,
// count (n), and least_cells cells, and is not as at the level above. Fills traits (4 a part: strength, mean, cells, share
// of its box's largest side), size (a part), cells (all parts', the surest first). Returns how many parts.
int64_t parts_of(const int64_t* numbers, int64_t n, const int32_t* order, const float* value, const double* count,
                 const double* logits, int64_t halvings, const double* levels, int64_t level_count, double top_share,
                 double least, int64_t least_cells, double* traits, int64_t* size, int32_t* cells) {
  std::vector<int32_t> block(n);
  const std::vector<int64_t> blocks = held_by(numbers, n, halvings, block.data());
  const int64_t block_count = blocks.size();
  std::vector<float> top(block_count, -INFINITY);
  for (int64_t i = 0; i < n; ++i) top[block[i]] = std::max(top[block[i]], value[i]);
  std::vector<std::vector<std::pair<int32_t, int32_t>>> joins(level_count);
  each_pair(blocks.data(), block_count, [&](int32_t i, int32_t j) {
    const float lower = std::min(top[i], top[j]);
    const auto level = std::lower_bound(levels, levels + level_count, lower, std::greater<double>());
    if (level < levels + level_count) joins[level - levels].emplace_back(i, j);
  });
  Forest forest(block_count);
  std::vector<int32_t> slot(block_count, -1), mine(n), held(n, 0);
  std::vector<int64_t> start, fill;
  std::vector<double> voxels;
  int64_t told = 0, end = 0, inside = 0;
  for (int64_t level = 0; level < level_count; ++level) {
    for (const auto& [i, j] : joins[level]) forest.join(i, j);
    while (inside < n && value[order[inside]] >= levels[level]) ++inside;
    std::vector<int32_t> roots;
    start.clear(), voxels.clear();
    for (int64_t k = 0; k < inside; ++k) {  // a slot for each part, in the order of their surest cells
      const int32_t root = forest.root(block[order[k]]);
      if (slot[root] < 0) slot[root] = roots.size(), roots.push_back(root), start.push_back(0), voxels.push_back(0);
      mine[k] = slot[root];
      ++start[mine[k]], voxels[mine[k]] += count[order[k]];
    }
    for (int32_t root : roots) slot[root] = -1;
    fill.assign(roots.size(), -1);
    std::vector<int64_t> first, of;
    std::vector<char> seen(roots.size(), 0);
    int64_t ahead = end;
    for (int64_t k = 0; k < inside; ++k) {
      const int32_t s = mine[k];
      if (!seen[s]) {
        seen[s] = 1;
        const bool large = voxels[s] >= least && start[s] >= least_cells;
        if (large && held[order[k]] != start[s]) {
          fill[s] = ahead, first.push_back(ahead), of.push_back(start[s]);
          ahead += start[s];
        }
        if (large) held[order[k]] = start[s];
      }
      if (fill[s] >= 0) cells[fill[s]++] = order[k];
    }
    for (size_t p = 0; p < first.size(); ++p, ++told) {
      const int32_t* part = cells + first[p];
      const int64_t m = of[p], best = std::ceil(top_share * m);
      double weight = 0, strong = 0, strong_weight = 0, sum = 0;
      int64_t low[3], high[3];
      for (int c = 0; c < 3; ++c) low[c] = high[c] = coordinate(numbers[part[0]], c);
      for (int64_t k = 0; k < m; ++k) {
        const int32_t cell = part[k];
        weight += count[cell], sum += logits[cell];
        if (k < best) strong_weight += count[cell], strong += count[cell] * value[cell];
        for (int c = 0; c < 3; ++c) {
          const int64_t x = coordinate(numbers[cell], c);
          low[c] = std::min(low[c], x), high[c] = std::max(high[c], x);
        }
      }
      double extent[3];
      for (int c = 0; c < 3; ++c) extent[c] = high[c] - low[c] + 1;
      const double side = extent[0] * extent[1] * extent[2] / *std::min_element(extent, extent + 3);
      double* t = traits + 4 * told;
      t[0] = strong / strong_weight, t[1] = sum / weight, t[2] = m, t[3] = std::min(1.0, m / side);
      size[told] = m;
    }
    end = ahead;
  }
  return told;
}

}  // extern "C"
