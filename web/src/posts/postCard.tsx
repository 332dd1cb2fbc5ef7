import {ERASED, type Post} from '../contract.ts'
import {Link} from '../router.tsx'
import {Avatar, Name, When} from '../ui/parts.tsx'
import {UserText} from '../ui/userText.tsx'
import {Attachments} from './attachments.tsx'

const SHOWN = 700
const LINES = 12

/** The beginning of a long text, cut between words or lines. */
const beginning = (text: string): string => {
  const lines = text.split('\n', LINES + 4)
  const few = lines.length > LINES + 3 ? lines.slice(0, LINES).join('\n') : text
  if (few.length <= SHOWN * 1.2) return few === text ? text : `${few.trimEnd()} …`
  const cut = few.slice(0, SHOWN)
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), SHOWN - 60)).trimEnd()} …`
}

export const postPath = (id: string): string => `/posts/${encodeURIComponent(id)}`

export const Byline = ({post}: {post: Post}) => (
  <p className="byline">
    <Avatar id={post.author_id} name={post.author_name} size="s" />
    <Name>{post.author_name}</Name>
    <span aria-hidden="true">·</span>
    <When time={post.created_at} />
  </p>
)

export const PostCard = ({post}: {post: Post}) => {
  const shown = beginning(post.body)
  return (
    <article className="card post" aria-label={post.title}>
      <Byline post={post} />
      <h2 className="post-title" dir="auto">
        <Link to={postPath(post.id)} className={post.title === ERASED ? 'erased' : undefined}>
          {post.title}
        </Link>
      </h2>
      {shown && (
        <p className="user-text" dir="auto">
          <UserText text={shown} />
        </p>
      )}
      {shown !== post.body && (
        <p>
          <Link to={postPath(post.id)} aria-label={`Read all of “${post.title}”`}>
            Read on
          </Link>
        </p>
      )}
      <Attachments urls={post.attachments} title={post.title} />
    </article>
  )
}

export const PostSkeleton = () => (
  <div className="card post skeleton" aria-hidden="true">
    <p className="byline">
      <span className="avatar avatar-s bone" />
      <span className="bone bone-name" />
    </p>
    <span className="bone bone-title" />
    <span className="bone bone-line" />
    <span className="bone bone-line bone-short" />
  </div>
)
