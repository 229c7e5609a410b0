namespace SafetyFilter.Training.Data;

/// <summary>
/// Harmless texts of our own for which the data sets have no counter-example: titles that name people for who they are, and
/// the shortest texts there are. Without them an n-gram model takes the mere word for the abuse it often stands in.
/// </summary>
internal static class CounterExamples
{
    private const string People =
        "gay;lesbian;bisexual;transgender;trans;queer;straight;heterosexual;homosexual;nonbinary;black;white;asian;latino;hispanic;african american;native american;"
        + "arab;middle eastern;mexican;indian;chinese;japanese;korean;african;european;jewish;muslim;christian;catholic;protestant;hindu;buddhist;sikh;atheist;"
        + "deaf;blind;autistic;disabled;elderly;older;young;teenage;female;male;immigrant;refugee;immigrants' rights;feminist;single";

    private const string Titles =
        "A day in the life of a {0} teacher;My {0} neighbour taught me to bake bread;The best {0} authors to read this spring;Interview with a {0} astronaut;"
        + "{0} families share their holiday traditions;Growing up {0} in a small town;A short history of {0} cinema;How a {0} engineer built a bridge;"
        + "{0} and proud of it;I am {0} and this is my story;She is {0};He is {0} and plays the violin;Meet the {0} chef behind our favourite restaurant;"
        + "Being {0} at university: questions and answers;The {0} community centre opens its garden;{0} women in science;{0} men talk about friendship;"
        + "Our {0} friends came for dinner;What {0} people wish their doctors knew;{0} youth orchestra plays live;A love song by a {0} couple;Happy {0} person on a bicycle";

    private const string Trivial =
        ";ok;okay;yes;no;hi;hello;hey there;thanks;thank you;good morning;good night;lol;wow;nice;cool;great;sure;maybe;what?;why?;how are you;see you;bye;"
        + "test;title;untitled;new video;part 1;part 2;episode 3;trailer;official video;live;music;cats;dogs;news;weather;1;2;2019;...;!;?;:);\u2764;\U0001F389;\U0001F642";

    public static IEnumerable<Sample> All()
    {
        foreach (string title in Titles.Split(';'))
        {
            foreach (string people in People.Split(';'))
            {
                yield return Harmless(title.Replace("{0}", people, StringComparison.Ordinal), 0.5f);
            }
        }

        foreach (string text in Trivial.Split(';'))
        {
            yield return Harmless(text, 4f);
        }
    }

    private static Sample Harmless(string text, float weight)
    {
        var sample = new Sample("counter_examples", "own", "", "", Fold.Train, text);
        Array.Fill(sample.Weights, weight);
        return sample;
    }
}
