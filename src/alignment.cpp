// Similarities from matched points. All arrays are the caller's (sab3r_ros/mapping/compiled.py), contiguous.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

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
  double ray, log_depth, width;  // expected errors; how many of them lose their say
};

// What one look's matches ask of the pose of the keyframe looked at, robustly (Geman-McClure).
class LookEquations {
 public:
  double cost = 0;
  // P looks at points of Q: s, R, t of both.
  LookEquations(const double* P, const double* Q, const Sigmas& sigmas)
      : P(P), Q(Q), log_scale(std::log(P[0])), per_ray(1 / sigmas.ray), per_depth(1 / sigmas.log_depth),
        per_square(1 / (sigmas.width * sigmas.width)) {
    for (int r = 0; r < 3; ++r)
      for (int c = 0; c < 3; ++c) A[r][c] = Q[0] * Q[1 + 3 * r + c];
  }
  // P sees a point of Q's pointmap along its own unit ray, at a distance by its logarithm.
  void add(const double* own_ray, double log_distance, const double* point, double weight) {
    double p[4], ray[3], u[3], square = 0, length = 0, across = 0;
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
      ray[k] = (u[k] - seen) * per_ray;
      square += ray[k] * ray[k], across += ray[k] * u[k];
    }
    const double depth = (std::log(length) - log_distance - log_scale) * per_depth;
    square += depth * depth;
    const double kernel = 1 / (1 + square * per_square);  // the square root of what the residuals are weighted by
    cost += weight * square * kernel;
    // dp/dδ = D = [−[p]×, I, p] for the keyframe looked at, −D for the one that looks; a residual across u is α dp, one
    // along it β dp. So with Dᵀ u = `along` their part of H is Dᵀ (α² (I − u uᵀ) + β² u uᵀ) D = α² Dᵀ D +
    // (β² − α²) along alongᵀ, and Dᵀ D only has moments of p.
    const double w = weight * kernel * kernel, alpha = inverse * per_ray, beta = inverse * per_depth;
    const double along[8] = {p[1] * u[2] - p[2] * u[1], p[2] * u[0] - p[0] * u[2], p[0] * u[1] - p[1] * u[0],
                             u[0], u[1], u[2], p[0] * u[0] + p[1] * u[1] + p[2] * u[2]};
    const double even = w * alpha * alpha, bent = w * (beta * beta - alpha * alpha);
    double pull[4] = {};
    for (int k = 0; k < 3; ++k) pull[k] = (ray[k] - u[k] * across) * (w * alpha) + u[k] * (w * depth * beta);
    for (int a = 0; a < 4; ++a)  // rows of even length: two or four products at a time
      for (int b = 0; b < 4; ++b) moments[a][b] += even * p[a] * p[b], turn[a][b] += p[a] * pull[b];
    for (int a = 0; a < 7; ++a)
      for (int b = 0; b < 8; ++b) along_along[a][b] += bent * along[a] * along[b];
  }
  // → H (7, 7), g (7)
  void finish(double* H, double* g) const {
    auto add = [H](int a, int b, double value) { H[7 * a + b] += value, H[7 * b + a] += a == b ? 0 : value; };
    std::fill(H, H + 49, 0.0);
    for (int a = 0; a < 7; ++a)
      for (int b = a; b < 7; ++b) add(a, b, along_along[a][b]);
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
  double log_scale, per_ray, per_depth, per_square;
  double A[3][3], moments[4][4] = {}, along_along[7][8] = {}, turn[4][4] = {};
};

// A point in a camera's frame, its direction and distance.
struct Seen {
  double point[3], ray[3], log_distance;
  explicit Seen(const double* x) {
    const double distance = std::sqrt(std::max(x[0] * x[0] + x[1] * x[1] + x[2] * x[2], 1e-18));
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

// Of the similarities Xi ≈ s R Xj + t of three matches each, sets (count, 3), the one with which most of the weight of the
// matches `some` (n) agrees: both cameras see the other's point in the matched direction, at a plausible distance. A
// similarity whose log scale is larger than most_log_scale is none. → best: s, R, t. Returns how many of them agree.
int64_t best_similarity(const double* Xi, const double* Xj, const double* weight, const int64_t* sets, int64_t count,
                        const int64_t* some, int64_t n, double angle, double log_ratio, double most_log_scale,
                        double* best) {
  auto point = [](const double* X, int64_t k) { return Vec{X[3 * k], X[3 * k + 1], X[3 * k + 2]}; };
  const float square = float(std::pow(std::cos(angle), 2)), most = float(std::exp(2 * log_ratio)), least = 1 / most;
  std::vector<float> table(9 * n);  // a row each: Xi, Xj, their squares, weight
  float *row[9], *xi[3], *xj[3];
  for (int k = 0; k < 9; ++k) row[k] = table.data() + k * n;
  std::copy(row, row + 3, xi), std::copy(row + 3, row + 6, xj);
  for (int64_t m = 0; m < n; ++m) {
    for (int k = 0; k < 3; ++k) xi[k][m] = float(Xi[3 * some[m] + k]), xj[k][m] = float(Xj[3 * some[m] + k]);
    row[6][m] = xi[0][m] * xi[0][m] + xi[1][m] * xi[1][m] + xi[2][m] * xi[2][m];
    row[7][m] = xj[0][m] * xj[0][m] + xj[1][m] * xj[1][m] + xj[2][m] * xj[2][m];
    row[8][m] = float(weight[some[m]]);
  }
  std::vector<float> agree(n);
  float highest = -1;
  int64_t agreeing = 0;
  for (int64_t h = 0; h < count; ++h) {
    Vec x[3], y[3];
    for (int k = 0; k < 3; ++k) x[k] = point(Xj, sets[3 * h + k]), y[k] = point(Xi, sets[3 * h + k]);
    Similarity S;
    if (!three_points(x, y, &S) || !(std::abs(std::log(S.s)) < most_log_scale)) continue;
    float A[3][3], R[3][3], t[3];
    for (int r = 0; r < 3; ++r) {
      t[r] = float(S.t[r]);
      for (int c = 0; c < 3; ++c) R[r][c] = float(S.R[r][c]), A[r][c] = float(S.s * S.R[r][c]);
    }
    for (int64_t m = 0; m < n; ++m) {
      float there[3], from[3], back[3];
      for (int k = 0; k < 3; ++k) {
        there[k] = A[k][0] * xj[0][m] + A[k][1] * xj[1][m] + A[k][2] * xj[2][m] + t[k];
        from[k] = xi[k][m] - t[k];
      }
      for (int k = 0; k < 3; ++k) back[k] = R[0][k] * from[0] + R[1][k] * from[1] + R[2][k] * from[2];
      const float far = there[0] * there[0] + there[1] * there[1] + there[2] * there[2], seen = row[6][m];
      const float length = back[0] * back[0] + back[1] * back[1] + back[2] * back[2];
      const float ahead = there[0] * xi[0][m] + there[1] * xi[1][m] + there[2] * xi[2][m];
      const float behind = back[0] * xj[0][m] + back[1] * xj[1][m] + back[2] * xj[2][m];
      const bool same = (far < seen * most) & (far > seen * least) & (ahead > 0) & (behind > 0) &
                        (ahead * ahead > square * far * seen) & (behind * behind > square * length * row[7][m]);
      agree[m] = same ? 1.0f : 0.0f;
    }
    float score = 0, number = 0;
    for (int64_t m = 0; m < n; ++m) score += agree[m] * row[8][m], number += agree[m];
    if (score > highest) {
      highest = score, agreeing = int64_t(number);
      best[0] = S.s;
      std::copy(&S.R[0][0], &S.R[0][0] + 9, best + 1), std::copy(S.t, S.t + 3, best + 10);
    }
  }
  return agreeing;
}

// Levenberg-Marquardt over keyframes' poses (keyframes, 13): s, R, t, changed in place; those that are `fixed` stay. See
// `refine` (sab3r_ros/mapping/alignment.py). Of each of n looks (Look, ibid.) the matches are ends[k] to ends[k + 1] of N;
// pairs (n, 2): who looks, at whose points. rays, points: (3, N). → how many steps were tried.
int64_t refine(double* poses, int64_t keyframes, const uint8_t* fixed, const int64_t* pairs, const int64_t* ends, int64_t n,
               const double* rays, const double* log_distance, const double* points, const double* weight, int64_t N,
               double ray_sigma, double depth_sigma, double width, double scale_prior, int64_t most_steps) {
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
  return step;
}

// How n matched points Xi, Xj (n, 3) of two keyframes agree where j stands at T (s, R, t) in i's frame, see `measured`
// (sab3r_ros/mapping/alignment.py). → how many agree; if that is not less than `fewest`, also the normal equations of all
// with respect to T, H (7, 7) and pull (7), and the sum (7, 7) of the products of each cell's pull with itself.
int64_t pair_equations(const double* T, const double* Xi, const double* Xj, const double* weight, int64_t n,
                       double most_angle, double most_ratio, int64_t fewest, double least_ray_sigma,
                       double least_depth_sigma, double width, double cell_rad, double* H, double* pull, double* scatter,
                       int64_t* cells) {
  const double identity[13] = {1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
  std::vector<Seen> of_i, of_j;
  std::vector<double> angles, ratios;
  for (int64_t m = 0; m < n; ++m) {
    of_i.emplace_back(Xi + 3 * m), of_j.emplace_back(Xj + 3 * m);
    double there[3], back[3];
    for (int r = 0; r < 3; ++r) {
      const double* R = T + 1 + 3 * r;
      there[r] = T[0] * (R[0] * of_j[m].point[0] + R[1] * of_j[m].point[1] + R[2] * of_j[m].point[2]) + T[10 + r];
      back[r] = 0;
      for (int k = 0; k < 3; ++k) back[r] += T[1 + 3 * k + r] * (of_i[m].point[k] - T[10 + k]);
    }
    const Seen ahead(there), behind(back);
    const double angle = std::acos(std::clamp(std::min(ahead.along(of_i[m]), behind.along(of_j[m])), -1.0, 1.0));
    const double ratio = std::abs(ahead.log_distance - of_i[m].log_distance);
    if (angle < most_angle && ratio < most_ratio) angles.push_back(angle), ratios.push_back(ratio);
  }
  const int64_t agree = int64_t(angles.size());
  if (agree < fewest) return agree;
  const Sigmas sigmas{std::max(median(&angles) / kRayleighMedian, least_ray_sigma),
                      std::max(median(&ratios) / kNormalMedian, least_depth_sigma), width};
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
