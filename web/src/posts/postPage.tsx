import {useEffect, useState} from 'react'
import {ask, type Failure, toFailure} from '../api.ts'
import type {Post} from '../contract.ts'
import {Link} from '../router.tsx'
import {FailureNote, Icon, NotFound, PageTitle} from '../ui/parts.tsx'
import {UserText} from '../ui/userText.tsx'
import {Attachments} from './attachments.tsx'
import {postFeed} from './feed.ts'
import {Byline, PostSkeleton} from './postCard.tsx'

export const PostPage = ({postId}: {postId: string}) => {
  const [post, setPost] = useState<Post | null>(() => postFeed.get().posts.find(({id}) => id === postId) ?? null)
  const [failure, setFailure] = useState<Failure | null>(null)
  const [attempt, setAttempt] = useState(0)

  // biome-ignore lint/correctness/useExhaustiveDependencies: another attempt is another request
  useEffect(() => {
    const left = new AbortController()
    setFailure(null)
    ask<{post: Post}>('GET', `/api/posts/${postId}`, undefined, {signal: left.signal}).then(
      ({body}) => setPost(body.post),
      (error) => !left.signal.aborted && setFailure(toFailure(error)),
    )
    return () => left.abort()
  }, [postId, attempt])

  return (
    <div className="page page-narrow">
      <p className="back">
        <Link to="/posts/">
          <Icon name="back" /> All posts
        </Link>
      </p>
      {post ? (
        <article className="post-whole">
          <PageTitle title={post.title}>
            <span dir="auto">{post.title}</span>
          </PageTitle>
          <Byline post={post} />
          {post.body && (
            <p className="user-text" dir="auto">
              <UserText text={post.body} />
            </p>
          )}
          <Attachments urls={post.attachments} title={post.title} />
        </article>
      ) : (
        <>
          <PageTitle title="Post" className="visually-hidden">
            Post
          </PageTitle>
          {failure?.code === 'NOT_FOUND' && <NotFound what="This post" />}
          {failure && failure.code !== 'NOT_FOUND' && (
            <FailureNote failure={failure} retry={() => setAttempt(attempt + 1)} />
          )}
          {!failure && <PostSkeleton />}
        </>
      )}
    </div>
  )
}
