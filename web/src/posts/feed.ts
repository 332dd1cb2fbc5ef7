import {ask, type Failure, nextPage, toFailure} from '../api.ts'
import type {Post} from '../contract.ts'
import {onConnected, onLive} from '../live/live.ts'
import {session} from '../session.ts'
import {createStore} from '../store.ts'

const PAGE = 20
/** Posts that wait behind the announcement; past them the first page is simply loaded anew. */
const MAX_FRESH = 50

export type PostFeed = {
  status: 'loading' | 'ready' | 'failed'
  failure: Failure | null
  /** Newest first. */
  posts: Post[]
  /** Written by others since; shown when asked for. */
  fresh: Post[]
  next: string | null
  loadingMore: boolean
  moreFailure: Failure | null
}

const EMPTY: PostFeed = {
  status: 'loading',
  failure: null,
  posts: [],
  fresh: [],
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

export const showFresh = (): void => {
  const {posts, fresh} = postFeed.get()
  if (fresh.length > MAX_FRESH) void loadPosts()
  else patch({posts: [...fresh, ...posts], fresh: []})
}

/** What was written while there was no connection. */
const lookForNew = async (): Promise<void> => {
  if (postFeed.get().status !== 'ready') return
  const {body} = await ask<Post[]>('GET', FIRST)
  const oldest = postFeed.get().posts.at(0)?.created_at ?? ''
  const unknown = body.filter(({id, created_at}) => !isKnown(id) && created_at >= oldest)
  if (unknown.length > 0) patch({fresh: [...unknown, ...postFeed.get().fresh].slice(0, MAX_FRESH + 1)})
}

onLive('post', (post) => {
  const now = postFeed.get()
  if (now.status !== 'ready' || isKnown(post.id)) return
  const me = session.get()
  if (me.status === 'in' && me.user.id === post.author_id) addOwnPost(post)
  else patch({fresh: [post, ...now.fresh].slice(0, MAX_FRESH + 1)})
})
onConnected(() => void lookForNew().catch(() => {}))
