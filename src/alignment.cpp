// Similarities from matched points. All arrays are the caller's (sab3r_ros/mapping/compiled.py), contiguous.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "wide.h"

namespace {

struct Vec {
  double x, y, z;
  Vec operator-(const Vec& o) const { return {x - o.x, y - o.y, z - o.z}; }
  Vec operator+(const Vec& o) const { return {x + o.x, y + o.y, z + o.z}; }
  Vec operator*(double s) const { return {x * s, y * s, z * s}; }
};
double dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
Vec cross(const Vec& a, const Vec& b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }

struct Similarity {
  double s, R[3][3], t[3];
};

// Axes of a triangle's plane: along its first edge, across, and its normal. False if its points are on a line.
bool axes(const Vec* p, Vec* axis) {
  const Vec edge = p[1] - p[0], normal = cross(edge, p[2] - p[0]);
  const double length = std::sqrt(dot(edge, edge)), area = std::sqrt(dot(normal, normal));
  if (!(length > 1e-12 && area > 1e-12)) return false;
  axis[0] = edge * (1 / length), axis[2] = normal * (1 / area), axis[1] = cross(axis[2], axis[0]);
  return true;
}

// Least squares y ≈ s R x + t of three points: their planes coincide, and in the plane it is one angle (Horn, JOSA A 1987).
bool three_points(const Vec* x, const Vec* y, Similarity* out) {
  Vec ax[3], ay[3];
  if (!axes(x, ax) || !axes(y, ay)) return false;
  const Vec mx = (x[0] + x[1] + x[2]) * (1.0 / 3), my = (y[0] + y[1] + y[2]) * (1.0 / 3);
  double along = 0, across = 0, spread = 0;
  for (int k = 0; k < 3; ++k) {
    const Vec a = x[k] - mx, b = y[k] - my;
    const double u = dot(a, ax[0]), v = dot(a, ax[1]), p = dot(b, ay[0]), q = dot(b, ay[1]);
    along += p * u + q * v, across += q * u - p * v, spread += dot(a, a);
  }
  const double length = std::hypot(along, across);
  if (!(length > 0)) return false;
  const double c = along / length, s = across / length;
  const Vec turned[3] = {ay[0] * c + ay[1] * s, ay[1] * c - ay[0] * s, ay[2]};  // where the axes of x come to lie
  out->s = length / spread;
  for (int col = 0; col < 3; ++col) {
    Vec sum = {0, 0, 0};
    for (int k = 0; k < 3; ++k) sum = sum + turned[k] * (col == 0 ? ax[k].x : col == 1 ? ax[k].y : ax[k].z);
    out->R[0][col] = sum.x, out->R[1][col] = sum.y, out->R[2][col] = sum.z;
  }
  const double m[3] = {mx.x, mx.y, mx.z}, n[3] = {my.x, my.y, my.z};
  for (int row = 0; row < 3; ++row) {
    double moved = 0;
    for (int k = 0; k < 3; ++k) moved += out->R[row][k] * m[k];
    out->t[row] = n[row] - out->s * moved;
  }
  return true;
}

struct Sigmas {
  double ray, log_depth, width;  // errors expected of rays and log distances; how many of them lose their say
};

// How one look at one match misses, see `LookEquations::misfit`.
struct Misfit {
  double square = 0;  // of the residuals, whitened
  double aside;       // radians across the epipolar line, where no distance is to blame
  double depth;       // log ratio of distances
  double p[4], ray[3], u[3], n[3], inverse, shared, explained;
};

// What one look's matches ask of the pose of the keyframe looked at, robustly (Geman-McClure), whitened: see the head of
// sab3r_ros/mapping/alignment.py.
class LookEquations {
 public:
  double cost = 0;
  // P looks at points of Q: s, R, t of both.
  LookEquations(const double* P, const double* Q, const Sigmas& sigmas)
      : P(P), Q(Q), log_scale(std::log(P[0])), ray_weight(1 / (sigmas.ray * sigmas.ray)),
        depth_weight(1 / (sigmas.log_depth * sigmas.log_depth)), per_square(1 / (sigmas.width * sigmas.width)) {
    for (int r = 0; r < 3; ++r) {
      base[r] = Q[10 + r] - P[10 + r];
      for (int c = 0; c < 3; ++c) A[r][c] = Q[0] * Q[1 + 3 * r + c];
    }
  }
  // P sees a point of Q's pointmap along its own unit ray, at a distance by its logarithm.
  Misfit misfit(const double* own_ray, double log_distance, const double* point) const {
    Misfit f;
    double *p = f.p, *ray = f.ray, *u = f.u, *n = f.n, length = 0, ahead = 0;
    p[3] = 1;
    for (int k = 0; k < 3; ++k) {
      p[k] = A[k][0] * point[0] + A[k][1] * point[1] + A[k][2] * point[2] + Q[10 + k];
      u[k] = p[k] - P[10 + k];
      length += u[k] * u[k];
    }
    length = std::sqrt(std::max(length, 1e-18));
    const double inverse = 1 / length;
    for (int k = 0; k < 3; ++k) {
      const double seen = P[1 + 3 * k] * own_ray[0] + P[2 + 3 * k] * own_ray[1] + P[3 + 3 * k] * own_ray[2];
      u[k] *= inverse;  // where the camera sees the other's point, in world axes
      ray[k] = u[k] - seen;
      f.square += ray[k] * ray[k], ahead += base[k] * u[k];
    }
    f.inverse = inverse;
    const double depth = f.depth = std::log(length) - log_distance - log_scale;
    // Where the point goes if Q takes it for farther: its ray by `slip`, its log distance by 1 − ahead / length. With
    // residuals (ray, depth) of covariance D + v vᵀ their weight is D⁻¹ − n nᵀ `shared`, n = D⁻¹ v (Sherman-Morrison).
    double slip[3], slipped = 0, slid = 0;
    const double stretch = 1 - ahead * inverse;
    for (int k = 0; k < 3; ++k) {
      slip[k] = (u[k] * ahead - base[k]) * inverse;
      slipped += slip[k] * slip[k], slid += slip[k] * ray[k];
      n[k] = slip[k] * ray_weight + u[k] * stretch * depth_weight;
    }
    f.aside = std::sqrt(std::max(f.square - slid * slid / std::max(slipped, 1e-18), 0.0));
    f.explained = slid * ray_weight + stretch * depth * depth_weight;
    f.shared = 1 / (depth_weight + slipped * ray_weight + stretch * stretch * depth_weight);
    f.square = f.square * ray_weight + depth * depth * depth_weight - f.shared * f.explained * f.explained;
    return f;
  }
  void add(const double* own_ray, double log_distance, const double* point, double weight) {
    const Misfit f = misfit(own_ray, log_distance, point);
    const double *p = f.p, *ray = f.ray, *u = f.u, *n = f.n, square = f.square, depth = f.depth, inverse = f.inverse;
    const double shared = f.shared, explained = f.explained, across = ray[0] * u[0] + ray[1] * u[1] + ray[2] * u[2];
    const double kernel = 1 / (1 + square * per_square);  // the square root of what the residuals are weighted by
    cost += weight * square * kernel;
    // dp/dδ = D = [−[p]×, I, p] for the keyframe looked at, −D for the one that looks; a residual across u is dp / length,
    // and so is one along it. With Dᵀ u = `along`, Dᵀ n = `drawn` their part of H is, but for 1 / length², ray_weight Dᵀ D +
    // (depth_weight − ray_weight) along alongᵀ − shared drawn drawnᵀ, and Dᵀ D only has moments of p.
    const double w = weight * kernel * kernel * inverse, even = w * inverse * ray_weight;
    const double bent = w * inverse * (depth_weight - ray_weight), less = w * inverse * shared;
    auto asked = [&p](const double* v, double* out) {
      out[0] = p[1] * v[2] - p[2] * v[1], out[1] = p[2] * v[0] - p[0] * v[2], out[2] = p[0] * v[1] - p[1] * v[0];
      out[3] = v[0], out[4] = v[1], out[5] = v[2], out[6] = p[0] * v[0] + p[1] * v[1] + p[2] * v[2], out[7] = 0;
    };
    double along[8], drawn[8], pull[4] = {};
    asked(u, along), asked(n, drawn);
    for (int k = 0; k < 3; ++k)
      pull[k] = w * ((ray[k] - u[k] * across) * ray_weight + u[k] * depth * depth_weight - n[k] * shared * explained);
    for (int a = 0; a < 4; ++a)  // rows of even length: two or four products at a time
      for (int b = 0; b < 4; ++b) moments[a][b] += even * p[a] * p[b], turn[a][b] += p[a] * pull[b];
    for (int a = 0; a < 7; ++a)
      for (int b = 0; b < 8; ++b) rank_one[a][b] += bent * along[a] * along[b] - less * drawn[a] * drawn[b];
  }
  // → H (7, 7), g (7)
  void finish(double* H, double* g) const {
    auto add = [H](int a, int b, double value) { H[7 * a + b] += value, H[7 * b + a] += a == b ? 0 : value; };
    std::fill(H, H + 49, 0.0);
    for (int a = 0; a < 7; ++a)
      for (int b = a; b < 7; ++b) add(a, b, rank_one[a][b]);
    const double square = moments[0][0] + moments[1][1] + moments[2][2];
    for (int a = 0; a < 3; ++a) {
      for (int b = a; b < 3; ++b) add(a, b, (a == b ? square : 0) - moments[a][b]);
      add(3 + a, 3 + a, moments[3][3]), add(3 + a, 6, moments[a][3]);
      const int b = (a + 1) % 3, c = (a + 2) % 3;
      add(b, 3 + c, -moments[a][3]), add(c, 3 + b, moments[a][3]);
    }
    add(6, 6, square);
    const double trace = turn[0][0] + turn[1][1] + turn[2][2];
    const double gradient[7] = {turn[1][2] - turn[2][1], turn[2][0] - turn[0][2], turn[0][1] - turn[1][0],
                                turn[3][0], turn[3][1], turn[3][2], trace};
    std::copy(gradient, gradient + 7, g);
  }

 private:
  const double *P, *Q;
  double log_scale, ray_weight, depth_weight, per_square;
  double A[3][3], base[3], moments[4][4] = {}, rank_one[7][8] = {}, turn[4][4] = {};
};

// A point in a camera's frame, its direction and distance.
struct Seen {
  double point[3], ray[3], distance, log_distance;
  explicit Seen(const double* x) {
    distance = std::sqrt(std::max(x[0] * x[0] + x[1] * x[1] + x[2] * x[2], 1e-18));
    for (int k = 0; k < 3; ++k) point[k] = x[k], ray[k] = x[k] / distance;
    log_distance = std::log(distance);
  }
  double along(const Seen& o) const { return ray[0] * o.ray[0] + ray[1] * o.ray[1] + ray[2] * o.ray[2]; }
};

constexpr double kLeastGain = 1e-4;   // of the cost: a smaller one ends a refinement
constexpr double kMostDamping = 1e3;  // as does more than this

// A x = b, positive definite, by Cholesky; A (n, n), its lower half, is overwritten, and b with x.
void solve(double* A, int64_t n, double* b) {
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c <= r; ++c) {
      double left = A[r * n + c];
      for (int64_t k = 0; k < c; ++k) left -= A[r * n + k] * A[c * n + k];
      A[r * n + c] = r == c ? std::sqrt(left) : left / A[c * n + c];
    }
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t k = 0; k < r; ++k) b[r] -= A[r * n + k] * b[k];
    b[r] /= A[r * n + r];
  }
  for (int64_t r = n - 1; r >= 0; --r) {
    for (int64_t k = r + 1; k < n; ++k) b[r] -= A[k * n + r] * b[k];
    b[r] /= A[r * n + r];
  }
}

// Sim3.step(δ) @ T (sab3r_ros/geometry/sim3.py): δ = rotation vector, translation, log scale; T: s, R, t.
void move(const double* delta, double* T) {
  const double x = delta[0], y = delta[1], z = delta[2], angle = std::sqrt(x * x + y * y + z * z);
  const double a = angle < 1e-6 ? 1 : std::sin(angle) / angle;
  const double b = angle < 1e-6 ? 0.5 : (1 - std::cos(angle)) / (angle * angle), s = std::exp(delta[6]);
  const double R[3][3] = {{1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y},
                          {b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x},
                          {b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)}};
  double moved[13] = {s * T[0]};
  for (int r = 0; r < 3; ++r)
    for (int k = 0; k < 3; ++k) {
      for (int c = 0; c < 3; ++c) moved[1 + 3 * r + c] += R[r][k] * T[1 + 3 * k + c];
      moved[10 + r] += s * R[r][k] * T[10 + k];
    }
  for (int r = 0; r < 3; ++r) moved[10 + r] += delta[3 + r];
  std::copy(moved, moved + 13, T);
}

constexpr double kRayleighMedian = 1.177;  // median length of a plane's normal error of sigma 1
constexpr double kNormalMedian = 0.674;    // and of a line's

// Of at least one value, which it reorders.
double median(std::vector<double>* values) {
  const auto middle = values->begin() + values->size() / 2;
  std::nth_element(values->begin(), middle, values->end());
  return values->size() % 2 ? *middle : (*middle + *std::max_element(values->begin(), middle)) / 2;
}

}  // namespace

extern "C" {

// Of the similarities Xi ≈ s R Xj + t of three matches each, sets (count, 3), the one that the matches `some` (n) support
// most: each by its weight times 1 − misfit / width², or not at all; the misfit is that of both cameras' looks on average
// (sab3r_ros/mapping/alignment.py). A similarity whose log scale is larger than most_log_scale is none. → best:
// s, R, t. Returns how many support it.
WIDE int64_t best_similarity(const double* Xi, const double* Xj, const double* weight, const int64_t* sets,
                             int64_t count, const int64_t* some, int64_t n, double ray_sigma, double depth_sigma, double width,
                        double most_log_scale, double* best) {
  auto point = [](const double* X, int64_t k) { return Vec{X[3 * k], X[3 * k + 1], X[3 * k + 2]}; };
  constexpr int64_t kPart = 32, kLanes = 8;  // matches that are scored, and summed, at a time
  const int64_t parts = (n + kPart - 1) / kPart, padded = parts * kPart;
  std::vector<float> table(9 * padded);  // a row each: rays of i and j, their distances, weight
  float *row[9], *fi[3], *fj[3];
  for (int k = 0; k < 9; ++k) row[k] = table.data() + k * padded;
  std::copy(row, row + 3, fi), std::copy(row + 3, row + 6, fj);
  std::vector<float> rest(parts + 1);  // what the matches after so many parts weigh
  for (int64_t m = padded - 1; m >= 0; --m) {
    const int64_t match = some[std::min(m, n - 1)];
    const Seen i(Xi + 3 * match), j(Xj + 3 * match);
    for (int k = 0; k < 3; ++k) fi[k][m] = float(i.ray[k]), fj[k][m] = float(j.ray[k]);
    row[6][m] = float(i.distance), row[7][m] = float(j.distance), row[8][m] = m < n ? float(weight[match]) : 0;
    if ((m + 1) % kPart == 0) rest[m / kPart] = rest[m / kPart + 1];
    rest[m / kPart] += row[8][m];
  }
  const float ray_weight = float(1 / (ray_sigma * ray_sigma)), depth_weight = float(1 / (depth_sigma * depth_sigma));
  const float per_square = float(1 / (width * width));
  // Of one look: the other's camera at `base`, its point `away`, both in frame of the ray `own`.
  auto misfit = [=](const float* away, const float* base, const float* own, float distance) {
    auto dot = [](const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; };
    const float length = std::sqrt(dot(away, away) + 1e-18f), inverse = 1 / length;
    const float cosine = dot(away, own) * inverse, ahead = dot(base, away) * inverse;
    const float depth = 2 * (length - distance) / (length + distance);  // nearly the logarithm of their ratio
    const float slipped = (dot(base, base) - ahead * ahead) * inverse * inverse, stretch = 1 - ahead * inverse;
    const float explained = (dot(base, own) - ahead * cosine) * inverse * ray_weight + stretch * depth * depth_weight;
    return 2 * (1 - cosine) * ray_weight + depth * depth * depth_weight -
           explained * explained / (depth_weight + slipped * ray_weight + stretch * stretch * depth_weight);
  };
  std::vector<float> support(padded);
  float highest = -1;
  int64_t supporting = 0;
  for (int64_t h = 0; h < count; ++h) {
    Vec x[3], y[3];
    for (int k = 0; k < 3; ++k) x[k] = point(Xj, sets[3 * h + k]), y[k] = point(Xi, sets[3 * h + k]);
    Similarity S;
    if (!three_points(x, y, &S) || !(std::abs(std::log(S.s)) < most_log_scale)) continue;
    float R[3][3], t[3], back[3], s = float(S.s);  // `back`: where i's camera is in j's frame, but for the scale
    for (int r = 0; r < 3; ++r) {
      t[r] = float(S.t[r]), back[r] = 0;
      for (int c = 0; c < 3; ++c) R[r][c] = float(S.R[r][c]);
    }
    for (int r = 0; r < 3; ++r)
      for (int k = 0; k < 3; ++k) back[r] -= R[k][r] * t[k];
    float score = 0;
    int64_t part = 0;
    for (; part < parts && score + rest[part] > highest; ++part) {  // while it may still become the best
      float sums[kLanes] = {};
      for (int64_t m = part * kPart; m < (part + 1) * kPart; ++m) {
        float ahead[3], behind[3];
        const float own_i[3] = {fi[0][m], fi[1][m], fi[2][m]}, own_j[3] = {fj[0][m], fj[1][m], fj[2][m]};
        const float far_i = row[6][m], far_j = s * row[7][m];  // behind is in i's scale, too
        for (int k = 0; k < 3; ++k) {
          ahead[k] = far_j * (R[k][0] * own_j[0] + R[k][1] * own_j[1] + R[k][2] * own_j[2]) + t[k];
          behind[k] = far_i * (R[0][k] * own_i[0] + R[1][k] * own_i[1] + R[2][k] * own_i[2]) + back[k];
        }
        const float square = misfit(ahead, t, own_i, far_i) + misfit(behind, back, own_j, far_j);
        const float left = 1 - square / 2 * per_square;
        support[m] = left > 0 ? left : 0;
      }
      for (int64_t m = part * kPart; m < (part + 1) * kPart; m += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += support[m + lane] * row[8][m + lane];
      score += std::accumulate(sums, sums + kLanes, 0.0f);
    }
    if (part == parts && score > highest) {
      highest = score;
      supporting = std::count_if(support.begin(), support.begin() + n, [](float left) { return left > 0; });
      best[0] = S.s;
      std::copy(&S.R[0][0], &S.R[0][0] + 9, best + 1), std::copy(S.t, S.t + 3, best + 10);
    }
  }
  return supporting;
}

// Levenberg-Marquardt over keyframes' poses (keyframes, 13): s, R, t, changed in place; those that are `fixed` stay. See
// `refine` (sab3r_ros/mapping/alignment.py). Of each of n looks (Look, ibid.) the matches are ends[k] to ends[k + 1] of N;
// pairs (n, 2): who looks, at whose points. rays, points: (3, N). → least_cost: of all steps but the
// last. Returns how many steps were tried.
int64_t refine(double* poses, int64_t keyframes, const uint8_t* fixed, const int64_t* pairs, const int64_t* ends, int64_t n,
               const double* rays, const double* log_distance, const double* points, const double* weight, int64_t N,
               double ray_sigma, double depth_sigma, double width, double scale_prior, int64_t most_steps,
               double* least_cost) {
  const Sigmas sigmas{ray_sigma, depth_sigma, width};
  std::vector<int64_t> column(keyframes, -1);
  int64_t size = 0;
  for (int64_t k = 0; k < keyframes; ++k)
    if (!fixed[k]) column[k] = size, size += 7;
  const std::vector<double> start(poses, poses + 13 * keyframes);
  std::vector<double> before = start, A(size * size), b(size), kept_A, kept_b, delta(size);
  double damping = 1e-4, least = std::numeric_limits<double>::infinity();
  int64_t step = 0;
  for (; step < most_steps; ++step) {
    double cost = 0;
    std::fill(A.begin(), A.end(), 0.0), std::fill(b.begin(), b.end(), 0.0);
    for (int64_t look = 0; look < n; ++look) {
      const int64_t i = pairs[2 * look], j = pairs[2 * look + 1];
      LookEquations sums(poses + 13 * i, poses + 13 * j, sigmas);
      for (int64_t m = ends[look]; m < ends[look + 1]; ++m) {
        const double ray[3] = {rays[m], rays[N + m], rays[2 * N + m]};
        const double point[3] = {points[m], points[N + m], points[2 * N + m]};
        sums.add(ray, log_distance[m], point, weight[m]);
      }
      double H[49], g[7];
      sums.finish(H, g);
      cost += sums.cost;
      auto add = [&](int64_t row, int64_t col, double sign) {
        for (int r = 0; r < 7; ++r)
          for (int c = 0; c < 7; ++c) A[(row + r) * size + col + c] += sign * H[7 * r + c];
      };
      const int64_t ci = column[i], cj = column[j];
      for (int r = 0; r < 7; ++r) {  // the keyframe that looks is asked for the opposite
        if (cj >= 0) b[cj + r] -= g[r];
        if (ci >= 0) b[ci + r] += g[r];
      }
      if (cj >= 0) add(cj, cj, 1);
      if (ci >= 0) add(ci, ci, 1);
      if (ci >= 0 && cj >= 0) add(ci, cj, -1), add(cj, ci, -1);
    }
    for (int64_t k = 0; k < keyframes; ++k) {
      if (fixed[k]) continue;
      const int64_t scale = column[k] + 6;
      const double pull = std::log(poses[13 * k] / start[13 * k]) / scale_prior;
      A[scale * size + scale] += 1 / (scale_prior * scale_prior), b[scale] -= pull / scale_prior, cost += pull * pull;
    }
    if (cost > least) {  // the last step made it worse: take it back, go more carefully
      std::copy(before.begin(), before.end(), poses);
      A = kept_A, b = kept_b, damping *= 10;
      if (damping > kMostDamping) break;
    } else {
      if (least - cost < kLeastGain * cost) break;
      least = cost, damping = std::max(damping / 3, 1e-7);
      before.assign(poses, poses + 13 * keyframes), kept_A = A, kept_b = b;
    }
    for (int64_t k = 0; k < size; ++k) A[k * size + k] += damping * (A[k * size + k] + 1e-9);
    delta = b;
    solve(A.data(), size, delta.data());
    for (int64_t k = 0; k < keyframes; ++k)
      if (!fixed[k]) move(&delta[column[k]], poses + 13 * k);
  }
  *least_cost = least;
  return step;
}

// How n matched points Xi, Xj (n, 3) of two keyframes agree where j stands at T (s, R, t) in i's frame, see `measured`
// (sab3r_ros/mapping/alignment.py). → how many agree; if that is not less than `fewest`, also the normal equations of all
// with respect to T, H (7, 7) and pull (7), and the sum (7, 7) of the products of each cell's pull with itself.
int64_t pair_equations(const double* T, const double* Xi, const double* Xj, const double* weight, int64_t n,
                       double ray_sigma, double depth_sigma, double width, int64_t fewest, double least_ray_sigma,
                       double least_depth_sigma, double cell_rad, double* H, double* pull, double* scatter,
                       int64_t* cells) {
  const Sigmas expected{ray_sigma, depth_sigma, width};
  const double identity[13] = {1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
  std::vector<Seen> of_i, of_j;
  std::vector<double> rays, ratios;
  const LookEquations prior_i(identity, T, expected), prior_j(T, identity, expected);
  for (int64_t m = 0; m < n; ++m) {
    of_i.emplace_back(Xi + 3 * m), of_j.emplace_back(Xj + 3 * m);
    const Misfit ahead = prior_i.misfit(of_i[m].ray, of_i[m].log_distance, of_j[m].point);
    const Misfit behind = prior_j.misfit(of_j[m].ray, of_j[m].log_distance, of_i[m].point);
    if (ahead.square + behind.square < 2 * expected.width * expected.width)
      rays.push_back(ahead.aside), ratios.push_back(std::abs(ahead.depth) * std::sqrt(.5));
  }
  const int64_t agree = int64_t(rays.size());
  if (agree < fewest) return agree;
  const Sigmas sigmas{std::max(median(&rays) / kNormalMedian, least_ray_sigma),
                      std::max(median(&ratios) / kNormalMedian, least_depth_sigma), expected.width};
  std::vector<std::pair<int64_t, int64_t>> order;  // by cells of camera i's image
  for (int64_t m = 0; m < n; ++m) {
    const double* x = of_i[m].point;
    const auto column = int64_t(std::floor(std::atan2(x[0], x[2]) / cell_rad));
    order.emplace_back(column * 1000 + int64_t(std::floor(std::atan2(x[1], x[2]) / cell_rad)), m);
  }
  std::sort(order.begin(), order.end());
  std::fill(H, H + 49, 0.0), std::fill(pull, pull + 7, 0.0), std::fill(scatter, scatter + 49, 0.0);
  *cells = 0;
  for (int64_t first = 0, k = 0; first < n; first = k, ++*cells) {
    LookEquations from_i(identity, T, sigmas), from_j(T, identity, sigmas);
    for (; k < n && order[k].first == order[first].first; ++k) {
      const int64_t m = order[k].second;
      from_i.add(of_i[m].ray, of_i[m].log_distance, of_j[m].point, weight[m]);
      from_j.add(of_j[m].ray, of_j[m].log_distance, of_i[m].point, weight[m]);
    }
    double h[2][49], g[2][7];
    from_i.finish(h[0], g[0]), from_j.finish(h[1], g[1]);
    for (int a = 0; a < 49; ++a) H[a] += h[0][a] + h[1][a];
    for (int a = 0; a < 7; ++a) {
      pull[a] += g[1][a] - g[0][a];
      for (int b = 0; b < 7; ++b) scatter[7 * a + b] += (g[1][a] - g[0][a]) * (g[1][b] - g[0][b]);
    }
  }
  return agree;
}

// What an earlier pointmap (h, w, 3), every stride-th of its pixels, says of the depths of another one (H, W, 3), whose
// camera has focal lengths and centre `camera`; T (3, 4) takes points into that one's frame. By cells of the other's
// pixels, `cell` along an edge, rows × columns: how many pixels, sums of the log ratios of both depths (those beyond
// most_log_ratio are other surfaces) and of the earlier one's weights, which have its own cells.
int64_t depth_ratios(const float* before, int64_t h, int64_t w, int64_t stride, const float* weight, const double* T,
                     const double* camera, const float* points, int64_t H, int64_t W, int64_t cell, int64_t rows,
                     int64_t columns, double most_log_ratio, double* count, double* ratio, double* carried) {
  for (int64_t y = 0; y < h; y += stride)
    for (int64_t x = 0; x < w; x += stride) {
      const float* p = before + 3 * (y * w + x);
      double q[3];
      for (int k = 0; k < 3; ++k) q[k] = T[4 * k] * p[0] + T[4 * k + 1] * p[1] + T[4 * k + 2] * p[2] + T[4 * k + 3];
      if (!(q[2] > 1e-3)) continue;
      const double u = std::nearbyint(q[0] / q[2] * camera[0] + camera[2]);
      const double v = std::nearbyint(q[1] / q[2] * camera[1] + camera[3]);
      if (!(u >= 0 && u < W && v >= 0 && v < H)) continue;
      const double r = std::log(q[2] / points[3 * (int64_t(v) * W + int64_t(u)) + 2]);
      if (!(std::abs(r) < most_log_ratio)) continue;
      const int64_t at = int64_t(v) / cell * columns + int64_t(u) / cell;
      count[at] += 1, ratio[at] += r, carried[at] += weight[y / cell * columns + x / cell];
    }
  return rows * columns;
}

}  // extern "C"
