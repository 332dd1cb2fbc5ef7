import {useEffect, useRef} from 'react'
import {SignIn} from '../account/signIn.tsx'
import {session} from '../session.ts'
import {useStore} from '../store.ts'
import {Button, Empty, FailureNote, PageTitle} from '../ui/parts.tsx'
import {plural} from '../words.ts'
import {Compose} from './compose.tsx'
import {loadMorePosts, loadPosts, postFeed, refreshPosts, showFresh} from './feed.ts'
import {PostCard, PostSkeleton} from './postCard.tsx'

export const PostsPage = () => {
  const feed = useStore(postFeed)
  const now = useStore(session)
  const end = useRef<HTMLDivElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const {status, next} = feed

  useEffect(() => {
    void refreshPosts()
  }, [])

  useEffect(() => {
    if (!next || !end.current) return
    const seen = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && loadMorePosts(),
      {
        rootMargin: '600px',
      },
    )
    seen.observe(end.current)
    return () => seen.disconnect()
  }, [next])

  const toFresh = async () => {
    await showFresh()
    window.scrollTo(0, 0)
    list.current?.querySelector('a')?.focus({preventScroll: true})
  }

  return (
    <div className="page page-narrow">
      <PageTitle title="Posts">Posts</PageTitle>
      {now.status === 'in' && <Compose key={now.user.id} user={now.user} />}
      {now.status === 'unknown' && <div className="compose-closed bone" aria-hidden="true" />}
      {now.status === 'out' && (
        <details className="sign-in-fold">
          <summary className="button button-quiet">Sign in to write a post</summary>
          <SignIn />
        </details>
      )}
      <div role="status" className="fresh-place">
        {feed.fresh.length > 0 && (
          <Button look="main" className="fresh" onClick={() => void toFresh()}>
            {feed.behind ? 'Many new posts' : plural(feed.fresh.length, 'new post')} · Show
          </Button>
        )}
      </div>
      {status === 'failed' && feed.failure && <FailureNote failure={feed.failure} retry={() => void loadPosts()} />}
      {status === 'loading' && (
        <div className="stack" aria-busy="true">
          <span className="visually-hidden">Posts are being loaded.</span>
          <PostSkeleton />
          <PostSkeleton />
          <PostSkeleton />
        </div>
      )}
      {status === 'ready' && feed.posts.length === 0 && (
        <Empty title="No posts yet">
          <p>
            {now.status === 'in'
              ? 'Write the first one above: a question, something you found, or a hello.'
              : 'Sign in and write the first one.'}
          </p>
        </Empty>
      )}
      <div className="stack" ref={list}>
        {feed.posts.map((post) => (
          <PostCard key={post.id} post={post} />
        ))}
      </div>
      <div ref={end} className="list-end">
        {feed.moreFailure && <FailureNote failure={feed.moreFailure} retry={() => void loadMorePosts()} />}
        {next && !feed.moreFailure && (
          <Button busy={feed.loadingMore} onClick={() => void loadMorePosts()}>
            Show older posts
          </Button>
        )}
        {status === 'ready' && !next && feed.posts.length > 5 && (
          <p className="hint">That was all, back to the first post.</p>
        )}
      </div>
    </div>
  )
}
