import {ask, type Failure, nextPage, toFailure} from '../api.ts'
import type {Post} from '../contract.ts'
import {onConnected, onLive} from '../live/live.ts'
import {session} from '../session.ts'
import {createStore} from '../store.ts'

const PAGE = 20
/** Posts that wait behind the announcement; past them the first page is loaded anew. */
const MAX_FRESH = 50

export type PostFeed = {
  status: 'loading' | 'ready' | 'failed'
  failure: Failure | null
  /** Newest first. */
  posts: Post[]
  /** Written by others since; shown when asked for. */
  fresh: Post[]
  /** More was written since than `fresh` holds. */
  behind: boolean
  next: string | null
  loadingMore: boolean
  moreFailure: Failure | null
}

const EMPTY: PostFeed = {
  status: 'loading',
  failure: null,
  posts: [],
  fresh: [],
  behind: false,
  next: null,
  loadingMore: false,
  moreFailure: null,
}

export const postFeed = createStore<PostFeed>(EMPTY)
const patch = (change: Partial<PostFeed>) => postFeed.update((now) => ({...now, ...change}))

const FIRST = `/api/posts?limit=${PAGE}`

export const loadPosts = async (): Promise<void> => {
  try {
    const {body, headers} = await ask<Post[]>('GET', FIRST)
    postFeed.set({...EMPTY, status: 'ready', posts: body, next: nextPage(headers)})
  } catch (error) {
    if (postFeed.get().status !== 'ready') patch({status: 'failed', failure: toFailure(error)})
  }
}

export const loadMorePosts = async (): Promise<void> => {
  const {next, loadingMore, status} = postFeed.get()
  if (!next || loadingMore || status !== 'ready') return
  patch({loadingMore: true, moreFailure: null})
  try {
    const {body, headers} = await ask<Post[]>('GET', next)
    const {posts} = postFeed.get()
    const known = new Set(posts.map(({id}) => id))
    patch({posts: [...posts, ...body.filter(({id}) => !known.has(id))], next: nextPage(headers)})
  } catch (error) {
    patch({moreFailure: toFailure(error)})
  }
  patch({loadingMore: false})
}

const isKnown = (id: string): boolean => {
  const {posts, fresh} = postFeed.get()
  return posts.some((post) => post.id === id) || fresh.some((post) => post.id === id)
}

/** An own post is shown at once. */
export const addOwnPost = (post: Post): void => {
  const {posts, fresh} = postFeed.get()
  patch({posts: [post, ...posts.filter(({id}) => id !== post.id)], fresh: fresh.filter(({id}) => id !== post.id)})
}

export const showFresh = async (): Promise<void> => {
  const {posts, fresh, behind} = postFeed.get()
  if (behind) await loadPosts()
  else patch({posts: [...fresh, ...posts], fresh: []})
}

const wait = (found: Post[], gap = false): void => {
  const {fresh, behind} = postFeed.get()
  const waiting = [...found, ...fresh]
  patch({fresh: waiting.slice(0, MAX_FRESH), behind: behind || gap || waiting.length > MAX_FRESH})
}

/** Keeps the list as it was left, so that going back leads to where one was; what was written since waits above it. */
export const refreshPosts = async (): Promise<void> => {
  if (postFeed.get().status !== 'ready') return loadPosts()
  try {
    const {body} = await ask<Post[]>('GET', FIRST)
    const current = new Map(body.map((post) => [post.id, post]))
    const asItIs = (post: Post): Post => current.get(post.id) ?? post
    const {posts, fresh} = postFeed.get()
    const firstKnown = body.findIndex(({id}) => isKnown(id))
    patch({posts: posts.map(asItIs), fresh: fresh.map(asItIs)})
    if (firstKnown < 0) wait(body, body.length > 0)
    else wait(body.slice(0, firstKnown))
  } catch {}
}

onLive('post', (post) => {
  const now = postFeed.get()
  if (now.status !== 'ready' || isKnown(post.id)) return
  const me = session.get()
  if (me.status === 'in' && me.user.id === post.author_id) addOwnPost(post)
  else wait([post])
})
onConnected(() => {
  if (postFeed.get().status === 'ready') void refreshPosts()
})
