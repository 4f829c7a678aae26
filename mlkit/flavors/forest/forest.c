/* A forest of decision trees, asked without the library that trained it.
 *
 * Every node of every tree asks a question about one feature: "is it above this threshold?", "is it outside of this set
 * of levels?". A forest has many nodes and few different questions, so each question is answered once a row, as a bit.
 * A walk from root to leaf is then the same short step for every kind of node:
 *
 *     next = left child + bit of the question          (0: left, 1: right, which stands beside left)
 *
 * A leaf asks question 0, whose bit is always 0, and leads to itself: a walk need not know when it has arrived.
 * Eight walks go side by side, so that the processor has something to do while it waits for memory.
 *
 * The arrays come from Python (questions.py). `forest_check` looks at every one of them once, when a model is loaded;
 * what it has passed, no row can lead out of bounds. Nothing here allocates, and nothing is kept between two calls.
 * Built by `make kernel` for x86-64 and arm64: plain C11, no special instructions, no contraction of a * b + c. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 8               /* walks side by side */
#define CHILD_BITS 14         /* a node: 18 bits of question, 14 bits of left child, counted within its tree */
#define CHILD_MASK ((1u << CHILD_BITS) - 1)
#define MOST_WORDS ((1 << (32 - CHILD_BITS)) / 32)
#define ZERO_THRESHOLD ((double)1e-35f) /* LightGBM: a smaller number is zero */

enum { RAW, SIGMOID, SOFTMAX, EXPONENTIAL, LOG_ONE_PLUS_EXPONENTIAL, SIGNED_SQUARE, TRANSFORMS };

/* Questions about one feature that are answered together; their bits begin at a whole word. */
typedef struct {
    int64_t first;        /* of its thresholds (they rise); of a category, of its table */
    int32_t feature;
    int32_t levels;       /* of a category: lines of the table before those for any other level and NaN; of a number, -1 */
    int32_t zero;         /* of a number: whether zero is missing, as NaN always is */
    int32_t ones;         /* of a number: how many of the questions a missing one answers with 1 */
    int32_t count;        /* questions */
    int32_t word;         /* where the answers begin in a row's words */
} group_t;

typedef struct {
    const group_t *group;
    const double *threshold;
    const uint32_t *table; /* of each level of a category, its answers */
    const int64_t *root;   /* of each tree, its first node; and the end */
    const uint32_t *node;
    const double *value; /* of each node; only those of leaves are read */
    const int32_t *leaf; /* of each node, the number of the leaf; -1 */
    const double *base;  /* of each output, where its sum begins */
    int64_t thresholds, table_words, nodes;
    double scale;       /* of the sigmoid */
    int32_t features, outputs, trees, groups;
    int32_t words;      /* of a row's answers */
    int32_t iterations; /* an averaged forest divides by this; else 0 */
    int32_t transform;
    int32_t single; /* XGBoost: sums and transforms are float32, and so are levels, of which a negative one is not known */
} forest_t;

/* What is asked, so that a call hands over one address. */
typedef struct {
    const forest_t *forest;
    const double *rows; /* count × features */
    int64_t count;
    uint32_t *scratch; /* LANES × words */
    double *sums;      /* count × outputs, or nothing */
    int32_t *leaves;   /* count × trees, or nothing */
} request_t;

const char forest_source[] = FOREST_SOURCE; /* the digest of this text: whose build this is */

/* ---- Once, when a model is loaded ---- */

static int words_of(int32_t count) { return (int)(((uint32_t)count + 31) >> 5); }

static int group_is_sound(const forest_t *f, const group_t *g) {
    if (g->feature < 0 || g->feature >= f->features || g->count < 1) return 0;
    if (g->word < 1 || g->word > f->words || words_of(g->count) > f->words - g->word) return 0;
    if (g->first < 0) return 0;
    if (g->levels >= 0) {
        int64_t size = ((int64_t)g->levels + 2) * words_of(g->count);
        return g->first <= f->table_words && size <= f->table_words - g->first;
    }
    if (g->levels != -1 || g->ones < 0 || g->ones > g->count) return 0;
    if (g->first > f->thresholds || g->count > f->thresholds - g->first) return 0;
    for (int32_t i = 1; i < g->count; i++)
        if (!(f->threshold[g->first + i - 1] < f->threshold[g->first + i])) return 0;
    return !isnan(f->threshold[g->first]);
}

/* Children stand behind their parent, so that a walk ends; a leaf asks question 0 and leads to itself. */
static int tree_is_sound(const forest_t *f, int64_t first, int64_t end) {
    if (first < 0 || end <= first || end > f->nodes || end - first > (int64_t)CHILD_MASK + 1) return 0;
    uint32_t size = (uint32_t)(end - first);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t question = f->node[first + i] >> CHILD_BITS, child = f->node[first + i] & CHILD_MASK;
        if (question == 0 ? child != i : child <= i || child + 1 >= size) return 0;
        if (question && (question < 32 || question >> 5 >= (uint32_t)f->words)) return 0;
    }
    return 1;
}

/* 0, or what is wrong: 1 sizes, 2 a group of questions, 3 a tree. */
int forest_check(const forest_t *f) {
    if (f->features < 1 || f->outputs < 1 || f->trees < 0 || f->groups < 0 || f->iterations < 0) return 1;
    if (f->words < 1 || f->words > MOST_WORDS || f->thresholds < 0 || f->table_words < 0 || f->nodes < 0) return 1;
    if (f->single != 0 && f->single != 1) return 1;
    if (f->transform < 0 || f->transform >= TRANSFORMS || f->trees % f->outputs) return 1;
    for (int32_t g = 0; g < f->groups; g++)
        if (!group_is_sound(f, f->group + g)) return 2;
    for (int32_t t = 0; t < f->trees; t++)
        if (!tree_is_sound(f, f->root[t], f->root[t + 1])) return 3;
    return 0;
}

/* ---- The questions of a row ---- */

/* How many thresholds are below x, without a branch that depends on x. */
static int32_t rank_of(const double *threshold, int32_t count, double x) {
    const double *from = threshold;
    for (int32_t left = count; left > 1;) {
        int32_t half = left / 2;
        from += from[half - 1] < x ? half : 0;
        left -= half;
    }
    return (int32_t)(from - threshold) + (*from < x);
}

/* The first `ones` bits are 1, the others 0. A few words: a call of memset would cost more. */
static void fill(uint32_t *word, int32_t ones, int words) {
    for (int i = 0; i < words; i++, ones -= 32) {
        int32_t here = ones < 0 ? 0 : ones > 32 ? 32 : ones;
        word[i] = (uint32_t)((UINT64_C(1) << here) - 1);
    }
}

static int is_missing(const group_t *g, double x) { return isnan(x) || (g->zero && fabs(x) <= ZERO_THRESHOLD); }

static void answer_number(const forest_t *f, const group_t *g, double x, uint32_t *word) {
    fill(word, is_missing(g, x) ? g->ones : rank_of(f->threshold + g->first, g->count, x), words_of(g->count));
}

/* A level is cut to a whole number, as the libraries do; negative and unseen ones have a line of the table, and so has NaN. */
static void answer_category(const forest_t *f, const group_t *g, double x, uint32_t *word) {
    int words = words_of(g->count);
    if (f->single) x = (double)(float)x;
    int known = (f->single ? x >= 0.0 : x > -1.0) && x < g->levels;
    int64_t line = known ? (int64_t)x : (int64_t)g->levels + (isnan(x) ? 1 : 0);
    const uint32_t *answers = f->table + g->first + line * words;
    for (int i = 0; i < words; i++) word[i] = answers[i];
}

static void answer_row(const forest_t *f, const double *row, uint32_t *bits) {
    bits[0] = 0;
    for (int32_t i = 0; i < f->groups; i++) {
        const group_t *g = f->group + i;
        if (g->levels >= 0)
            answer_category(f, g, row[g->feature], bits + g->word);
        else
            answer_number(f, g, row[g->feature], bits + g->word);
    }
}

#define EACH_LANE _Pragma("GCC unroll 8") for (int k = 0; k < LANES; k++)

/* Eight searches side by side: they take the same steps, and none waits for another. */
static void ranks_of(const double *threshold, int32_t count, const double x[LANES], int32_t rank[LANES]) {
    const double *from[LANES];
    EACH_LANE from[k] = threshold;
    for (int32_t left = count; left > 1;) {
        int32_t half = left / 2;
        EACH_LANE from[k] += from[k][half - 1] < x[k] ? half : 0;
        left -= half;
    }
    EACH_LANE rank[k] = (int32_t)(from[k] - threshold) + (*from[k] < x[k]);
}

static void answer_rows(const forest_t *f, const double *rows, uint32_t *bits) {
    for (int k = 0; k < LANES; k++) bits[k * (int64_t)f->words] = 0;
    for (int32_t i = 0; i < f->groups; i++) {
        const group_t *g = f->group + i;
        double x[LANES];
        int32_t rank[LANES];
        for (int k = 0; k < LANES; k++) x[k] = rows[k * (int64_t)f->features + g->feature];
        if (g->levels < 0) ranks_of(f->threshold + g->first, g->count, x, rank);
        for (int k = 0; k < LANES; k++) {
            uint32_t *word = bits + k * (int64_t)f->words + g->word;
            if (g->levels >= 0)
                answer_category(f, g, x[k], word);
            else
                fill(word, is_missing(g, x[k]) ? g->ones : rank[k], words_of(g->count));
        }
    }
}

/* ---- The walks ---- */

static inline uint32_t step(const uint32_t *node, uint32_t at, const uint32_t *bits) {
    uint32_t it = node[at];
    return (it & CHILD_MASK) + ((bits[it >> (CHILD_BITS + 5)] >> ((it >> CHILD_BITS) & 31)) & 1);
}

/* Until none has moved in the last of three steps: looking after each costs more than a step too many. Inlined and
 * unrolled, so that the eight places are in registers. */
__attribute__((always_inline)) static inline void walk(const uint32_t *const node[LANES], const uint32_t *const bits[LANES],
                                                       uint32_t at[LANES]) {
    uint32_t here[LANES];
    EACH_LANE here[k] = 0;
    for (uint32_t moved = 1; moved;) {
        moved = 0;
        EACH_LANE here[k] = step(node[k], here[k], bits[k]);
        EACH_LANE here[k] = step(node[k], here[k], bits[k]);
        EACH_LANE {
            uint32_t next = step(node[k], here[k], bits[k]);
            moved |= next ^ here[k];
            here[k] = next;
        }
    }
    EACH_LANE at[k] = here[k];
}

/* float32 as XGBoost adds: two of them are added exactly enough in double that rounding once more gives the same. */
static inline double add(const forest_t *f, double sum, double value) {
    return f->single ? (double)(float)(sum + value) : sum + value;
}

/* Eight rows in one tree after the other: the values of their leaves are added, or the numbers are written. */
static void ask_rows(const forest_t *f, const uint32_t *answers, double *sums, int32_t *leaves) {
    const uint32_t *node[LANES], *bits[LANES];
    uint32_t at[LANES];
    const int32_t trees = f->trees, outputs = f->outputs;
    for (int k = 0; k < LANES; k++) bits[k] = answers + (int64_t)k * f->words;
    for (int32_t t = 0, output = 0; t < trees; t++, output = output + 1 < outputs ? output + 1 : 0) {
        const int64_t root = f->root[t];
        for (int k = 0; k < LANES; k++) node[k] = f->node + root;
        walk(node, bits, at);
        if (sums)
            for (int k = 0; k < LANES; k++) {
                double *sum = sums + k * (int64_t)outputs + output;
                *sum = add(f, *sum, f->value[root + at[k]]);
            }
        if (leaves)
            for (int k = 0; k < LANES; k++) leaves[k * (int64_t)trees + t] = f->leaf[root + at[k]];
    }
}

/* One row in eight trees at a time; of the last ones, some twice. Values are added in the order of the trees. */
static void ask_row(const forest_t *f, const uint32_t *answers, double *sums, int32_t *leaves) {
    const uint32_t *node[LANES], *bits[LANES];
    uint32_t at[LANES];
    const int32_t trees = f->trees, outputs = f->outputs;
    for (int k = 0; k < LANES; k++) bits[k] = answers;
    for (int32_t first = 0, output = 0; first < trees; first += LANES) {
        int32_t left = trees - first < LANES ? trees - first : LANES;
        for (int k = 0; k < LANES; k++) node[k] = f->node + f->root[first + (k < left ? k : 0)];
        walk(node, bits, at);
        for (int32_t k = 0; k < left; k++) {
            if (sums) sums[output] = add(f, sums[output], f->value[f->root[first + k] + at[k]]);
            if (leaves) leaves[first + k] = f->leaf[f->root[first + k] + at[k]];
            output = output + 1 < outputs ? output + 1 : 0;
        }
    }
}

/* ---- From a sum to what the model says ---- */

static void softmax(double *sum, int32_t count) {
    double most = sum[0], total = 0.0;
    for (int32_t i = 1; i < count; i++) most = sum[i] < most ? most : sum[i];
    for (int32_t i = 0; i < count; i++) total += sum[i] = exp(sum[i] - most);
    for (int32_t i = 0; i < count; i++) sum[i] /= total;
}

static void softmax_single(double *sum, int32_t count) {
    double most = sum[0], total = 0.0;
    for (int32_t i = 1; i < count; i++) most = sum[i] > most ? sum[i] : most;
    for (int32_t i = 0; i < count; i++) total += sum[i] = (double)expf((float)(sum[i] - most));
    for (int32_t i = 0; i < count; i++) sum[i] = (double)((float)sum[i] / (float)total);
}

/* XGBoost's formulas, in float32. */
static void finish_single(const forest_t *f, double *sum) {
    if (f->transform == SOFTMAX) {
        softmax_single(sum, f->outputs);
        return;
    }
    for (int32_t i = 0; i < f->outputs; i++) {
        float x = (float)sum[i];
        if (f->transform == SIGMOID) sum[i] = (double)(1.0f / (expf(-x < 88.7f ? -x : 88.7f) + 1.0f + 1e-16f));
        if (f->transform == EXPONENTIAL) sum[i] = (double)expf(x);
    }
}

/* LightGBM's own formulas, operation by operation, with the exp of the system's libm, which it calls too. */
static void finish(const forest_t *f, double *sum) {
    int32_t count = f->outputs;
    if (f->single) {
        finish_single(f, sum);
        return;
    }
    if (f->iterations)
        for (int32_t i = 0; i < count; i++) sum[i] /= f->iterations;
    if (f->transform == SOFTMAX) {
        softmax(sum, count);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        double x = sum[i];
        switch (f->transform) {
            case SIGMOID: sum[i] = 1.0 / (1.0 + exp(-f->scale * x)); break;
            case EXPONENTIAL: sum[i] = exp(x); break;
            case LOG_ONE_PLUS_EXPONENTIAL: sum[i] = log1p(exp(x)); break;
            case SIGNED_SQUARE: sum[i] = (double)((x > 0) - (x < 0)) * x * x; break;
            default: break;
        }
    }
}

/* ---- What Python calls ---- */

void forest_ask(const request_t *request) {
    const forest_t *f = request->forest;
    for (int64_t row = 0; row < request->count;) {
        int together = request->count - row >= LANES;
        const double *rows = request->rows + row * f->features;
        double *sum = request->sums ? request->sums + row * f->outputs : 0;
        int32_t *leaf = request->leaves ? request->leaves + row * f->trees : 0;
        int64_t asked = together ? LANES : 1;
        for (int64_t k = 0; sum && k < asked; k++) memcpy(sum + k * f->outputs, f->base, sizeof *sum * (size_t)f->outputs);
        (together ? answer_rows : answer_row)(f, rows, request->scratch);
        (together ? ask_rows : ask_row)(f, request->scratch, sum, leaf);
        for (int64_t k = 0; sum && k < asked; k++) finish(f, sum + k * f->outputs);
        row += asked;
    }
}
