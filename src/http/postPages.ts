import type {Parts} from '../edge/parts.ts'
import {openStillShown, type Seen} from '../edge/stillShown.ts'
import {readGenerations} from '../projections/generations.ts'
import {FEW_POSTS, listPosts, type PostRow, posts} from '../projections/posts.ts'
import {linkTo} from './link.ts'
import {type WrittenJson, writeJson} from './writtenJson.ts'

const PAGE_BYTES = 4 * 1024 * 1024
const READ_AT_ONCE = 200
/** Of how many limits the first page is kept as it is sent. */
const KEPT_PAGES = 8

export type PostPage = {written: WrittenJson; headers: {Link?: string}}

/** A post as it stands in a page; `bytes` with its comma. */
type Item = {position: string; json: string; bytes: number}

/**
 * The newest posts as the table has them that was `seen`: as many as a page of `limit` wants. `pages`: what was made of
 * them, by the limit that was asked for.
 */
type Newest = {seen: Seen; limit: number; items: Item[]; pages: Map<number | null, PostPage>}

/**
 * Pages of posts as they are sent. The first page is what everybody asks for and the same for all, so the newest posts are
 * kept until the table changes.
 */
export const openPostPages = (
  {pool, tail, applied, config}: Pick<Parts, 'pool' | 'tail' | 'applied' | 'config'>,
  toPost: (row: PostRow) => object,
) => {
  let newest: Newest | null = null
  let reading: {limit: number; result: Promise<Newest>} | null = null
  // What was before the tail began is not known, so it counts as an erasure.
  let erasedAt: bigint | null = null
  const stillShown = openStillShown({tail, applied}, posts, ({type, position}) => {
    if (type !== 'UserErased') return
    erasedAt = position
    // They may be the person's.
    newest = null
  })
  const tailPosition = (): bigint => tail.position() ?? -1n

  /** Up to the first post that a page of `limit` does not hold, which says that there are more. */
  const read = async (limit: number, range: {before?: bigint | string; after?: string}): Promise<Item[]> => {
    const items: Item[] = []
    let bytes = 1
    for (;;) {
      const wanted = Math.min(READ_AT_ONCE, limit + 1 - items.length)
      const before = items.at(-1)?.position ?? range.before
      const rows = await listPosts(pool, {before, after: range.after, limit: wanted, bytes: PAGE_BYTES})
      for (const row of rows) {
        const json = JSON.stringify(toPost(row))
        const item = {position: row.position, json, bytes: Buffer.byteLength(json) + 1}
        items.push(item)
        bytes += item.bytes
        if (items.length > limit || bytes > PAGE_BYTES) return items
      }
      if (rows.length === 0) return items
    }
  }

  const readNewest = async (limit: number): Promise<Newest> => {
    const kept = newest
    const [live] = (await readGenerations(pool, [posts])).filter(({state}) => state === 'live')
    // Before the posts are read, so that they are no older.
    const seen = {generation: live?.generation ?? -1, at: live?.position ?? -1n}
    // Where nothing but posts came since, and that is known of all that the table holds, only those are read.
    const isLonger =
      kept !== null &&
      kept.seen.generation === seen.generation &&
      kept.limit >= limit &&
      tailPosition() >= seen.at &&
      (erasedAt ?? seen.at) <= kept.seen.at
    const depth = isLonger ? kept.limit : limit
    const after = isLonger ? kept.items[0]?.position : undefined
    const added = await read(depth, after === undefined ? {} : {after})
    const items = after === undefined ? added : [...added, ...kept!.items]
    const result = {
      seen,
      limit: depth,
      items: items.slice(0, shownOf(items, depth) + 1),
      pages: new Map<number | null, PostPage>(),
    }
    if ((erasedAt ?? -1n) <= seen.at) newest = result
    return result
  }

  const begin = (limit: number): Promise<Newest> => {
    const one = {
      limit,
      result: readNewest(limit).finally(() => {
        if (reading === one) reading = null
      }),
    }
    reading = one
    return one.result
  }

  const firstOf = ({items, pages}: Newest, asked: number | null): PostPage => {
    const page = pages.get(asked) ?? pageOf(items, asked ?? config.postsUnpagedMax, asked)
    if (!pages.has(asked)) {
      if (pages.size === KEPT_PAGES) pages.delete(pages.keys().next().value!)
      pages.set(asked, page)
    }
    return page
  }

  return {
    /** The newest posts; `asked`: how many, null: as many as are given to who does not say. */
    first: async (asked: number | null): Promise<PostPage> => {
      const limit = asked ?? config.postsUnpagedMax
      erasedAt ??= tailPosition()
      if (!stillShown.now()) return pageOf(await read(limit, {}), limit, asked)
      const isNew = (one: Newest) => one.limit >= limit && stillShown.mayGive(one.seen)
      if (newest && isNew(newest)) return firstOf(newest, asked)
      const underWay = reading
      if (underWay && underWay.limit >= limit) {
        const result = await underWay.result
        if (isNew(result)) return firstOf(result, asked)
      }
      // One that began after this was asked is as good as an own one.
      const joined = reading !== underWay && reading !== null && reading.limit >= limit ? reading.result : begin(limit)
      return firstOf(await joined, asked)
    },

    /** The page that follows on a cursor. */
    after: async (cursor: bigint, asked: number | null): Promise<PostPage> => {
      const limit = asked ?? config.postsUnpagedMax
      // What is read at once and fits is written at once as well, which takes half the time.
      if (limit < FEW_POSTS) {
        const rows = await listPosts(pool, {before: cursor, limit: limit + 1, bytes: PAGE_BYTES})
        const shown = rows.slice(0, limit)
        const next = rows.length > limit ? shown.at(-1)!.position : null
        const page = pageWith(JSON.stringify(shown.map(toPost)), next, asked)
        if (page.written.bytes.length <= PAGE_BYTES) return page
      }
      return pageOf(await read(limit, {before: cursor}), limit, asked)
    },
  }
}

/** How many of the posts a page shows: up to `limit` or 4 MiB, at least one where there is one. */
const shownOf = (items: readonly Item[], limit: number): number => {
  let bytes = 1
  let count = 0
  for (const item of items) {
    bytes += item.bytes
    if (count === limit || (bytes > PAGE_BYTES && count > 0)) break
    count++
  }
  return count
}

const pageOf = (items: readonly Item[], limit: number, asked: number | null): PostPage => {
  const count = shownOf(items, limit)
  const next = count < items.length ? items[count - 1]!.position : null
  const shown = items.slice(0, count).map(({json}) => json)
  return pageWith(`[${shown.join(',')}]`, next, asked)
}

const pageWith = (json: string, next: string | null, asked: number | null): PostPage => {
  const headers = linkTo(next === null ? null : `/api/posts?limit=${asked ?? 100}&cursor=${next}`)
  return {written: writeJson(json, headers.Link), headers}
}
