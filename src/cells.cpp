// Cells as a graph: which touch, how evidence flows between them, which parts of them stand out. All arrays are the
// caller's (sab3r_ros/querying/compiled.py), contiguous; what a function fills is large enough for its most.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace {

constexpr int64_t kStepY = int64_t(1) << 21, kStepX = kStepY << 21;  // to the next number in y and x (cells.py)

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

}  // namespace

extern "C" {

// Connected pieces of cells, corners included: numbers (n) rising → piece (n), from 0 in the order of their first cells.
int64_t pieces(const int64_t* numbers, int64_t n, int32_t* piece) {
  Forest forest(n);
  each_pair(numbers, n, [&](int32_t i, int32_t j) { forest.join(i, j); });
  int32_t count = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t root = forest.root(i);  // the piece's first cell
    piece[i] = root == i ? count++ : piece[root];
  }
  return count;
}

// Values (n) after rounds of averaging with the cells that touch; a neighbour counts e times less for each `width` that
// its colour, lab (n, 3), is away.
void smoothed(const int64_t* numbers, int64_t n, const float* lab, float width, int64_t rounds, float* values) {
  std::vector<int32_t> a, b;
  std::vector<float> weight, total(n, 1.f);
  a.reserve(8 * n), b.reserve(8 * n), weight.reserve(8 * n);
  std::vector<int64_t> first(n + 2, 0);
  each_pair(numbers, n, [&](int32_t i, int32_t j) {
    float square = 0;
    for (int c = 0; c < 3; ++c) square += (lab[3 * i + c] - lab[3 * j + c]) * (lab[3 * i + c] - lab[3 * j + c]);
    const float w = std::exp(-std::sqrt(square) / width);
    a.push_back(i), b.push_back(j), weight.push_back(w);
    total[i] += w, total[j] += w;
    ++first[i + 2], ++first[j + 2];
  });
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<int32_t> source(2 * a.size());
  std::vector<float> share(2 * a.size()), next(n);
  for (size_t k = 0; k < a.size(); ++k) {
    const int64_t p = first[a[k] + 1]++, q = first[b[k] + 1]++;
    source[p] = b[k], share[p] = weight[k] / total[a[k]];
    source[q] = a[k], share[q] = weight[k] / total[b[k]];
  }
  for (float& t : total) t = 1 / t;
  for (int64_t round = 0; round < rounds; ++round) {
    for (int64_t i = 0; i < n; ++i) {
      float sum = total[i] * values[i];
      for (int64_t k = first[i]; k < first[i + 1]; ++k) sum += share[k] * values[source[k]];
      next[i] = sum;
    }
    std::copy(next.begin(), next.end(), values);
  }
}

// Connected parts of each level of cells (n), the highest level first. order (n): the surest first, value of each. block
// (n): which of the joined blocks, numbers (blocks) rising, a cell lies in: blocks that touch and reach a level both are
// one part. A part is told if it holds `least` voxels, count (n), and least_cells cells, and is not as at the level above.
// Fills traits (4 a part: strength, mean, cells, share of its box's largest side), size (a part), cells (all parts', the
// surest first). Returns how many parts.
int64_t parts(int64_t n, const int32_t* order, const float* value, const double* count, const double* logits,
              const int32_t* place, const int32_t* block, const int64_t* blocks, int64_t block_count,
              const double* levels, int64_t level_count, double top_share, double least, int64_t least_cells,
              double* traits, int64_t* size, int32_t* cells) {
  std::vector<float> top(block_count, -INFINITY);
  for (int64_t i = 0; i < n; ++i) top[block[i]] = std::max(top[block[i]], value[i]);
  std::vector<std::vector<std::pair<int32_t, int32_t>>> joins(level_count);
  each_pair(blocks, block_count, [&](int32_t i, int32_t j) {
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
      int32_t low[3], high[3];
      for (int c = 0; c < 3; ++c) low[c] = high[c] = place[c * n + part[0]];
      for (int64_t k = 0; k < m; ++k) {
        const int32_t cell = part[k];
        weight += count[cell], sum += logits[cell];
        if (k < best) strong_weight += count[cell], strong += count[cell] * value[cell];
        for (int c = 0; c < 3; ++c) {
          low[c] = std::min(low[c], place[c * n + cell]), high[c] = std::max(high[c], place[c * n + cell]);
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
