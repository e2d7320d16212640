// Descriptors that are most alike, and points between pixels. All arrays are the caller's
// (sab3r_ros/mapping/compiled.py), contiguous; what a function fills is large enough for its most.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace {

constexpr int kRows = 4, kWide = 2, kLanes = 8;  // of A; vectors of B, and their length: what stays in registers
constexpr int kClasses = kWide * kLanes;         // of rows; the best of each is kept
constexpr float kLeast = 1e38f;                  // no product is less than minus this

// A map (h, w, d) of descriptors.
struct Map {
  const float* values;
  int64_t h, w, d;
  const float* at(int64_t place) const { return values + place * d; }
};

namespace plain {
#include "nearest.inc"
}
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace wide {
#include "nearest.inc"
}
#pragma GCC pop_options
const bool is_wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
const auto nearest = is_wide ? wide::nearest : plain::nearest;
const auto climbed = is_wide ? wide::climbed : plain::climbed;
const auto product = is_wide ? wide::product : plain::product;
#else
const auto nearest = plain::nearest;
const auto climbed = plain::climbed;
const auto product = plain::product;
#endif

// Of one row the likest of each class of the other's rows.
struct Likest {
  float values[kClasses];
  int32_t rows[kClasses];
  // Of equals the first.
  int best() const {
    int best = 0;
    for (int c = 1; c < kClasses; ++c)
      if (values[c] > values[best] || (values[c] == values[best] && rows[c] < rows[best])) best = c;
    return best;
  }
};

// Of each row of A (n, d) and of B (m, d).
void both_nearest(const float* A, int64_t n, const float* B, int64_t m, int64_t d, std::vector<Likest>* of_a,
                  std::vector<Likest>* of_b) {
  const int64_t blocks = (m + kClasses - 1) / kClasses, padded = blocks * kClasses;
  std::vector<float> packed(padded * d), values_a(n * kClasses), values_b(kClasses * padded, -kLeast);
  std::vector<int32_t> rows_a(n * kClasses), rows_b(kClasses * padded);
  for (int64_t j = 0; j < padded; ++j)  // the last row fills the last block
    for (int64_t k = 0; k < d; ++k) packed[(j / kClasses * d + k) * kClasses + j % kClasses] = B[std::min(j, m - 1) * d + k];
  nearest(A, n, packed.data(), blocks, d, values_a.data(), rows_a.data(), values_b.data(), rows_b.data());
  of_a->resize(n), of_b->resize(m);
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < kClasses; ++c)
      (*of_a)[i].values[c] = values_a[i * kClasses + c], (*of_a)[i].rows[c] = std::min(rows_a[i * kClasses + c], int32_t(m - 1));
  for (int c = 0; c < kClasses; ++c)
    for (int64_t j = 0; j < m; ++j)
      (*of_b)[j].values[c] = values_b[c * padded + j], (*of_b)[j].rows[c] = std::min(rows_b[c * padded + j], int32_t(n - 1));
}

bool near(int64_t a, int64_t b, int64_t width, int64_t radius) {
  return std::llabs(a / width - b / width) <= radius && std::llabs(a % width - b % width) <= radius;
}

// By how much the likest row is liker than any that is farther than `apart` from it in the image, of those that are the
// likest of their class; nothing is less like than kLeast. places: of the rows, in an image so wide.
float lead(const Likest& likest, const std::vector<int32_t>& places, int64_t width, int64_t apart) {
  const int best = likest.best();
  float second = -kLeast;
  for (int c = 0; c < kClasses; ++c)
    if (likest.values[c] > second && !near(places[likest.rows[c]], places[likest.rows[best]], width, apart))
      second = likest.values[c];
  return likest.values[best] - second;
}

// The surest places of a map's blocks of stride × stride, and which blocks these are, ascending.
struct Surest {
  std::vector<int32_t> places, blocks;
};

// Of so many blocks at most, the surest; of equals some from everywhere.
Surest surest(const float* confidence, int64_t h, int64_t w, int64_t stride, int64_t most) {
  std::vector<int32_t> best;
  for (int64_t y = 0; y + stride <= h; y += stride)
    for (int64_t x = 0; x + stride <= w; x += stride) {
      int64_t place = y * w + x;
      for (int64_t v = y; v < y + stride; ++v)
        for (int64_t u = x; u < x + stride; ++u)
          if (confidence[v * w + u] > confidence[place]) place = v * w + u;
      best.push_back(int32_t(place));
    }
  Surest out;
  out.blocks.resize(best.size());
  std::iota(out.blocks.begin(), out.blocks.end(), 0);
  if (int64_t(best.size()) > most) {
    auto surer = [&](int32_t a, int32_t b) {
      const float x = confidence[best[a]], y = confidence[best[b]];
      return x != y ? x > y : a * 2654435769u < b * 2654435769u;  // multiples of the golden ratio spread evenly
    };
    std::nth_element(out.blocks.begin(), out.blocks.begin() + most, out.blocks.end(), surer);
    out.blocks.resize(most);
    std::sort(out.blocks.begin(), out.blocks.end());
  }
  for (int32_t block : out.blocks) out.places.push_back(best[block]);
  return out;
}

std::vector<float> rows(const Map& map, const std::vector<int32_t>& places) {
  std::vector<float> out(places.size() * map.d);
  for (size_t k = 0; k < places.size(); ++k)
    std::copy(map.at(places[k]), map.at(places[k]) + map.d, out.begin() + k * map.d);
  return out;
}

}  // namespace

extern "C" {

// Of each row of A (n, d) the row of B (m, d) with the largest product, and the reverse.
int64_t both_ways(const float* A, int64_t n, const float* B, int64_t m, int64_t d, int32_t* of_a, int32_t* of_b) {
  std::vector<Likest> a, b;
  both_nearest(A, n, B, m, d, &a, &b);
  for (int64_t i = 0; i < n; ++i) of_a[i] = a[i].rows[a[i].best()];
  for (int64_t j = 0; j < m; ++j) of_b[j] = b[j].rows[b[j].best()];
  return n;
}

// Reciprocal matches of two maps of descriptors, with their confidences: places in a and in b, how alike they are, and by how
// much the likest are liker than any that are farther than `apart` from them. Returns how many.
int64_t matched(const float* A, const float* sure_a, int64_t ha, int64_t wa, const float* B, const float* sure_b,
                int64_t hb, int64_t wb, int64_t d, int64_t stride, int64_t most, int64_t radius, int64_t apart,
                int64_t* place_a, int64_t* place_b, float* likeness, float* leads) {
  const Map map_a{A, ha, wa, d}, map_b{B, hb, wb, d};
  const Surest a = surest(sure_a, ha, wa, stride, most), b = surest(sure_b, hb, wb, stride, most);
  if (a.places.empty() || b.places.empty()) return 0;
  std::vector<Likest> of_a, of_b;
  both_nearest(rows(map_a, a.places).data(), a.places.size(), rows(map_b, b.places).data(), b.places.size(), d, &of_a, &of_b);
  int64_t count = 0;
  for (size_t k = 0; k < of_a.size(); ++k) {
    const int32_t likest = of_a[k].rows[of_a[k].best()], back = of_b[likest].rows[of_b[likest].best()], here = a.places[k];
    if (!near(a.blocks[back], a.blocks[k], wa / stride, 1)) continue;
    const int64_t there = climbed(map_a.at(here), map_b, b.places[likest], stride - 1);
    if (!near(climbed(map_b.at(there), map_a, a.places[back], stride - 1), here, wa, radius)) continue;
    likeness[count] = product(map_a.at(here), map_b.at(there), d);
    leads[count] = std::min(lead(of_a[k], b.places, wb, apart), lead(of_b[likest], a.places, wa, apart));
    place_a[count] = here, place_b[count++] = there;
  }
  return count;
}

// How far from each place (n) of a map, in columns and rows, the likeness to its query (n, d) peaks: of the Gaussian
// through the place and its neighbours (a parabola would draw it to the place: Willert, Gharib 1991); none at the border,
// nor where one of them is unlike. → (n, 2)
int64_t peaks(const float* queries, int64_t n, const float* values, int64_t h, int64_t w, int64_t d,
                           const int64_t* places, double* shift) {
  const Map map{values, h, w, d};
  for (int64_t k = 0; k < n; ++k) {
    const float *query = queries + k * d, here = product(query, map.at(places[k]), d);
    const int64_t step[2] = {1, w}, at[2] = {places[k] % w, places[k] / w}, size[2] = {w, h};
    for (int axis = 0; axis < 2; ++axis) {
      shift[2 * k + axis] = 0;
      if (at[axis] == 0 || at[axis] == size[axis] - 1) continue;
      const float before = product(query, map.at(places[k] - step[axis]), d);
      const float after = product(query, map.at(places[k] + step[axis]), d);
      if (std::min({before, here, after}) <= 0) continue;
      const double left = std::log(double(before) / here), right = std::log(double(after) / here);
      shift[2 * k + axis] = std::clamp((right - left) / (2 * std::max(-left - right, 1e-9)), -0.5, 0.5);
    }
  }
  return n;
}

// Of each query (n, d) the largest product with what is within `reach` rows and columns of its place in a map → (n)
int64_t likest_near(const float* queries, int64_t n, const float* values, int64_t h, int64_t w, int64_t d,
                    const int64_t* places, int64_t reach, float* likeness) {
  const Map map{values, h, w, d};
  for (int64_t k = 0; k < n; ++k) {
    const float* query = queries + k * d;
    likeness[k] = product(query, map.at(climbed(query, map, places[k], reach)), d);
  }
  return n;
}

// Values of a pointmap (h, w, 3) at pixels uv (n, 2), between pixels too → (n, 3); see points_at (matching.py).
int64_t points_at(const float* points, int64_t h, int64_t w, const double* uv, int64_t n, double edge, double* out) {
  constexpr int64_t kAhead = 16;  // points lie anywhere: the memory is asked for those so far on
  const double most = std::exp(edge), least = std::exp(-edge);
  struct Place {
    double u, v;
    int64_t left, top;
  };
  auto place = [=](int64_t k) {
    const double u = std::clamp(uv[2 * k], 0.0, w - 1.0), v = std::clamp(uv[2 * k + 1], 0.0, h - 1.0);
    return Place{u, v, std::min(int64_t(u), w - 2), std::min(int64_t(v), h - 2)};
  };
  for (int64_t k = 0; k < n; ++k) {
    const Place next = place(std::min(k + kAhead, n - 1)), here = place(k);
    for (int64_t row = next.top; row < next.top + 2; ++row) __builtin_prefetch(points + 3 * (row * w + next.left));
    const double a = here.u - here.left, b = here.v - here.top;
    const double share[4] = {(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b};
    double ray[3] = {}, inverse = 0, distances[4];
    for (int corner = 0; corner < 4; ++corner) {
      const float* x = points + 3 * ((here.top + corner / 2) * w + here.left + corner % 2);
      const double square = double(x[0]) * x[0] + double(x[1]) * x[1] + double(x[2]) * x[2];
      distances[corner] = std::sqrt(std::max(square, 1e-18));
      const double weight = share[corner] / distances[corner];
      for (int axis = 0; axis < 3; ++axis) ray[axis] += weight * x[axis];
      inverse += weight;
    }
    const double nearest = distances[(a > 0.5) + 2 * (b > 0.5)], ratio = inverse * nearest;
    const double distance = ratio < most && ratio > least ? 1 / inverse : nearest;
    const double length = std::sqrt(std::max(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2], 1e-18));
    for (int axis = 0; axis < 3; ++axis) out[3 * k + axis] = ray[axis] * (distance / length);
  }
  return n;
}

}  // extern "C"
